// The legacy methods of firebase-admin for Node, unmodified: the last two majors that have them.

import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, it } from 'node:test';
import { SDK_VERSION, deleteApp, getMessaging, initializeApp } from './support/admin.mjs';
import { createGroup } from './support/groups.mjs';
import { Receiver } from './support/receiver.mjs';
import { STRANGE_TOKEN, demo, other } from './support/settings.mjs';

describe(`legacy methods of firebase-admin ${SDK_VERSION} for Node`, { timeout: 120_000 }, () => {
  let app, messaging, first, second, foreign;

  before(async () => {
    app = initializeApp();
    messaging = getMessaging(app);
    [first, second] = [await Receiver.start(demo), await Receiver.start(demo)];
    foreign = await Receiver.start(other);
  });

  after(async () => {
    [first, second, foreign].forEach((device) => device?.stop());
    if (app) await deleteApp(app);
  });

  beforeEach(() => [first, second].forEach((device) => device.forget()));

  it('sendToDevice: one token', async () => {
    const payload = { data: { score: '850' }, notification: { title: 'T', body: 'B', clickAction: '/here', icon: '/i' } };
    const told = await messaging.sendToDevice(first.token, payload, { priority: 'high', timeToLive: 600 });
    assert.deepEqual([told.successCount, told.failureCount, told.canonicalRegistrationTokenCount], [1, 0, 0]);
    assert.ok(told.multicastId > 0);
    assert.match(told.results[0].messageId, /^0:\d+%/);
    const { message } = await first.next();
    assert.deepEqual(message.data, { score: '850' });
    const { title, body, icon, click_action: clickAction } = message.notification;
    assert.deepEqual([title, body, icon, clickAction], ['T', 'B', '/i', '/here']);
    assert.deepEqual([message.priority, message.from], ['high', demo.messagingSenderId]);
  });

  it('sendToDevice: many tokens, each answered in its place', async () => {
    const tokens = [first.token, 'not-a-token', STRANGE_TOKEN, foreign.token, second.token];
    const told = await messaging.sendToDevice(tokens, { data: { to: 'many' } });
    assert.deepEqual([told.successCount, told.failureCount], [2, 3]);
    assert.deepEqual(told.results.map(({ error }) => error?.code), [
      undefined,
      'messaging/invalid-registration-token',
      'messaging/registration-token-not-registered',
      'messaging/mismatched-credential',
      undefined,
    ]);
    for (const device of [first, second]) assert.deepEqual((await device.next()).message.data, { to: 'many' });
  });

  it('sendToDevice: a thousand tokens', async () => {
    const tokens = Array.from({ length: 1000 }, (_, n) => (n % 100 === 0 ? first.token : STRANGE_TOKEN));
    const told = await messaging.sendToDevice(tokens, { data: { to: 'a thousand' } });
    assert.deepEqual([told.successCount, told.failureCount], [10, 990]);
    assert.equal((await first.take(10)).length, 10);
  });

  it('refuses by the codes that the SDK knows', async () => {
    const codes = async (payload, options) =>
      (await messaging.sendToDevice([first.token], payload, options)).results[0].error?.code;
    assert.equal(await codes({ data: { k: 'x'.repeat(4100) } }), 'messaging/payload-size-limit-exceeded');
    assert.equal(await codes({ data: { gcm: 'x' } }), 'messaging/invalid-data-payload-key');
    // The SDK checks less than the server: a string of another kind is a request that nobody can read.
    const refused = messaging.sendToDevice(first.token, { data: { k: 'v' } }, { priority: 'urgent' });
    await assert.rejects(refused, { code: 'messaging/invalid-argument', message: /priority/ });
  });

  it('a dry run delivers nothing', async () => {
    const told = await messaging.sendToDevice(first.token, { data: { n: 'dry' } }, { dryRun: true });
    assert.equal(told.results[0].messageId, 'fake_message_id');
    await messaging.sendToDevice(first.token, { data: { n: 'real' } });
    assert.deepEqual((await first.next()).message.data, { n: 'real' });
  });

  it('sendToDeviceGroup', async () => {
    const key = await createGroup(`legacy-${SDK_VERSION}-${process.pid}`, [first.token, second.token]);
    const told = await messaging.sendToDeviceGroup(key, { data: { to: 'group' } });
    assert.deepEqual(told, { successCount: 2, failureCount: 0, failedRegistrationTokens: [] });
    for (const device of [first, second]) assert.deepEqual((await device.next()).message.data, { to: 'group' });
    const unknown = messaging.sendToDeviceGroup(`APA91b${'x'.repeat(140)}`, { data: { to: 'nobody' } });
    await assert.rejects(unknown, { code: 'messaging/invalid-recipient' });
  });

  it('sendToTopic and sendToCondition', async () => {
    const topic = `legacy-${SDK_VERSION}-${process.pid}`;
    await messaging.subscribeToTopic([first.token], topic);
    const { messageId } = await messaging.sendToTopic(topic, { data: { n: '1' } }, { collapseKey: 'k' });
    assert.ok(Number.isInteger(messageId) && messageId > 0);
    const { message } = await first.next();
    assert.deepEqual([message.data, message.from], [{ n: '1' }, `/topics/${topic}`]);
    const told = await messaging.sendToCondition(`"${topic}" in topics && !('nobody' in topics)`, { data: { n: '2' } });
    assert.ok(told.messageId > messageId);
    assert.deepEqual((await first.next()).message.data, { n: '2' });
    const bad = messaging.sendToCondition(`'${topic}' in`, { data: { n: '3' } });
    await assert.rejects(bad, { message: /InvalidParameters: Bad topic or filter provided/ });
  });

  it('is refused with a credential that is not one', async () => {
    const credential = { getAccessToken: async () => ({ access_token: 'ya29.forged', expires_in: 3600 }) };
    const forger = initializeApp({ credential, projectId: demo.projectId }, 'legacy-forger');
    const sent = getMessaging(forger).sendToDevice(first.token, { data: { k: 'v' } });
    await assert.rejects(sent, { code: 'messaging/authentication-error' });
    await deleteApp(forger);
  });
});
