// firebase-admin for Node, unmodified, as an app server: what it asks and how it understands us.

import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { after, before, beforeEach, describe, it } from 'node:test';
import { cert, deleteApp, initializeApp } from 'firebase-admin/app';
import { getMessaging } from 'firebase-admin/messaging';
import { Receiver } from './support/receiver.mjs';
import { STRANGE_TOKEN, demo, other } from './support/settings.mjs';

const NAME = new RegExp(`^projects/${demo.projectId}/messages/.+`);
const MALFORMED = 'not-a-token';

describe('firebase-admin for Node', { timeout: 120_000 }, () => {
  let app, messaging, device, foreign;

  before(async () => {
    app = initializeApp();
    messaging = getMessaging(app);
    device = await Receiver.start(demo);
    foreign = await Receiver.start(other);
  });

  after(async () => {
    device?.stop();
    foreign?.stop();
    if (app) await deleteApp(app);
  });

  beforeEach(() => device.forget());

  const numbered = (count, token) => Array.from({ length: count }, (_, n) => ({ token, data: { n: `${n}` } }));
  const numbers = (envelopes) => envelopes.map(({ message }) => Number(message.data.n)).sort((a, b) => a - b);

  it('sends to a token', async () => {
    const name = await messaging.send({ token: device.token, data: { score: '850', 'with space': 'ü €' } });
    assert.match(name, NAME);
    const { message } = await device.next();
    assert.deepEqual(message.data, { score: '850', 'with space': 'ü €' });
    assert.equal(message.from, demo.messagingSenderId);
  });

  it('sends to a Firebase installation ID', async () => {
    assert.match(await messaging.send({ fid: device.fid, data: { by: 'fid' } }), NAME);
    assert.deepEqual((await device.next()).message.data, { by: 'fid' });
  });

  it('sends a notification with what each platform adds', async () => {
    await messaging.send({
      token: device.token,
      notification: { title: 'Every platform', body: 'the body' },
      android: { priority: 'high', ttl: 3_600_000, collapseKey: 'key', notification: { color: '#112233' } },
      apns: { headers: { 'apns-priority': '10' }, payload: { aps: { badge: 3, sound: 'default' } } },
      webpush: { headers: { Urgency: 'high' }, notification: { title: 'The web', requireInteraction: true } },
      fcmOptions: { analyticsLabel: 'conformance' },
    });
    const { notification } = (await device.next()).message;
    assert.deepEqual(
      { title: notification.title, body: notification.body, requireInteraction: notification.requireInteraction },
      { title: 'The web', body: 'the body', requireInteraction: true },
    );
  });

  it('sendEach: three messages over HTTP/2', async () => {
    const { successCount, responses } = await messaging.sendEach(numbered(3, device.token));
    assert.equal(successCount, 3);
    for (const { messageId } of responses) assert.match(messageId, NAME);
    assert.deepEqual(numbers(await device.take(3)), [0, 1, 2]);
  });

  it('sendEach: more messages than streams it opens at once', async () => {
    const { successCount, responses } = await messaging.sendEach(numbered(120, device.token));
    assert.equal(successCount, 120, `${responses.find(({ success }) => !success)?.error}`);
    assert.equal(new Set(responses.map(({ messageId }) => messageId)).size, 120);
    assert.deepEqual(numbers(await device.take(120)), Array.from({ length: 120 }, (_, n) => n));
  });

  it('sendEach over HTTP/1.1', async () => {
    const legacyApp = initializeApp({ projectId: demo.projectId }, 'http1');
    const legacy = getMessaging(legacyApp);
    legacy.enableLegacyHttpTransport();
    const { successCount } = await legacy.sendEach(numbered(10, device.token));
    await deleteApp(legacyApp);
    assert.equal(successCount, 10);
    assert.equal((await device.take(10)).length, 10);
  });

  it('sendEachForMulticast: tells the good token from the kinds of bad ones', async () => {
    const tokens = [device.token, MALFORMED, STRANGE_TOKEN, foreign.token, `${device.token}x`];
    const { successCount, responses } = await messaging.sendEachForMulticast({ tokens, data: { to: 'many' } });
    assert.equal(successCount, 1);
    assert.deepEqual(responses.map(({ error }) => error?.code), [
      undefined,
      'messaging/invalid-argument',
      'messaging/registration-token-not-registered',
      'messaging/mismatched-credential',
      'messaging/registration-token-not-registered',
    ]);
    assert.deepEqual((await device.next()).message.data, { to: 'many' });
  });

  it('sendEachForMulticast to installation IDs', async () => {
    const fids = [device.fid, 'not-a-fid'];
    const { responses } = await messaging.sendEachForMulticast({ fids, data: { to: 'fids' } });
    assert.deepEqual(responses.map(({ error }) => error?.code), [
      undefined,
      'messaging/installation-id-not-registered',
    ]);
    assert.deepEqual((await device.next()).message.data, { to: 'fids' });
  });

  it('a dry run is answered like a send, and sends nothing', async () => {
    assert.match(await messaging.send({ token: device.token, data: { n: 'dry' } }, true), NAME);
    const { responses } = await messaging.sendEachForMulticast({ tokens: [device.token, STRANGE_TOKEN] }, true);
    assert.deepEqual(responses.map(({ success }) => success), [true, false]);
    await messaging.send({ token: device.token, data: { n: 'real' } });
    assert.deepEqual((await device.next()).message.data, { n: 'real' });
  });

  const refused = (name, message, code) =>
    it(`refuses ${name}`, async () => {
      await assert.rejects(messaging.send(message()), { code: `messaging/${code}` });
    });

  refused('a malformed token', () => ({ token: MALFORMED }), 'invalid-argument');
  refused('a token that is not there', () => ({ token: STRANGE_TOKEN }), 'registration-token-not-registered');
  refused("another project's token", () => ({ token: foreign.token }), 'mismatched-credential');
  refused('an unknown installation ID', () => ({ fid: 'mock-fid' }), 'installation-id-not-registered');
  refused('a reserved data key', () => ({ token: device.token, data: { from: 'me' } }), 'invalid-argument');
  refused('more than 4096 bytes', () => ({ token: device.token, data: { k: 'x'.repeat(4100) } }), 'invalid-argument');

  it('refuses an account whose key is not its own', async () => {
    const { privateKey } = generateKeyPairSync('rsa', {
      modulusLength: 2048,
      privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
      publicKeyEncoding: { type: 'spki', format: 'pem' },
    });
    const clientEmail = `firebase-adminsdk@${demo.projectId}.iam.gserviceaccount.com`;
    const credential = cert({ projectId: demo.projectId, clientEmail, privateKey });
    const forger = initializeApp({ credential }, 'forger');
    const sent = getMessaging(forger).send({ token: device.token });
    await assert.rejects(sent, { code: 'app/invalid-credential' });
    await deleteApp(forger);
  });
});
