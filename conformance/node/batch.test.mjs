// The older majors of firebase-admin for Node, unmodified: those up to 12 send their batches as
// multipart/mixed to /batch, where Google no longer answers.

import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, it } from 'node:test';
import { MAJOR, SDK_VERSION, deleteApp, getMessaging, initializeApp } from './support/admin.mjs';
import { Receiver } from './support/receiver.mjs';
import { STRANGE_TOKEN, demo, other } from './support/settings.mjs';

/** What each major has for many messages, and for one message to many tokens. */
const MANY = { 11: ['sendAll', 'sendEach'], 12: ['sendAll', 'sendEach'], 13: ['sendEach'] }[MAJOR];
const MULTICAST = {
  sendAll: 'sendMulticast',
  sendEach: 'sendEachForMulticast',
};

const NAME = new RegExp(`^projects/${demo.projectId}/messages/.+`);

describe(`firebase-admin ${SDK_VERSION} for Node`, { timeout: 120_000 }, () => {
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

  it('has what it is known for', () => {
    const has = Object.entries(MULTICAST).flat().filter((name) => name in messaging).sort();
    assert.deepEqual(has, MANY.flatMap((name) => [name, MULTICAST[name]]).sort());
  });

  it('send', async () => {
    assert.match(await messaging.send({ token: device.token, data: { 'with space': 'ü €' } }), NAME);
    assert.deepEqual((await device.next()).message.data, { 'with space': 'ü €' });
  });

  for (const many of MANY) {
    it(`${many}: answers come in the order of the messages`, async () => {
      const tokens = [device.token, 'not-a-token', device.token, STRANGE_TOKEN, foreign.token, device.token];
      const messages = tokens.map((token, n) => ({ token, data: { n: `${n}`, text: 'ü €' } }));
      const { successCount, failureCount, responses } = await messaging[many](messages);
      assert.deepEqual([successCount, failureCount], [3, 3]);
      assert.deepEqual(responses.map(({ error }) => error?.code), [
        undefined,
        'messaging/invalid-argument',
        undefined,
        'messaging/registration-token-not-registered',
        'messaging/mismatched-credential',
        undefined,
      ]);
      for (const { messageId } of responses.filter(({ success }) => success)) assert.match(messageId, NAME);
      const received = (await device.take(3)).map(({ message }) => message.data);
      assert.deepEqual(new Set(received.map(({ n }) => n)), new Set(['0', '2', '5']));
      assert.ok(received.every(({ text }) => text === 'ü €'));
    });

    it(`${many}: each message id is the one that arrives`, async () => {
      const messages = Array.from({ length: 20 }, (_, n) => ({ token: device.token, data: { n: `${n}` } }));
      const { responses } = await messaging[many](messages);
      const arrived = new Map((await device.take(20)).map(({ message }) => [message.data.n, message.fcmMessageId]));
      responses.forEach(({ messageId }, n) =>
        assert.equal(messageId, `projects/${demo.projectId}/messages/${arrived.get(`${n}`)}`),
      );
    });

    it(`${many}: five hundred, and all of them dry`, async () => {
      const messages = Array.from({ length: 500 }, () => ({ token: device.token, data: { n: 'dry' } }));
      const { successCount, responses } = await messaging[many](messages, true);
      assert.equal(successCount, 500);
      assert.equal(new Set(responses.map(({ messageId }) => messageId)).size, 500);
      await messaging.send({ token: device.token, data: { n: 'real' } });
      assert.deepEqual((await device.next()).message.data, { n: 'real' });
    });

    it(MULTICAST[many], async () => {
      const tokens = [STRANGE_TOKEN, device.token];
      const { responses } = await messaging[MULTICAST[many]]({ tokens, data: { to: 'many' } });
      assert.deepEqual(responses.map(({ success }) => success), [false, true]);
      assert.deepEqual((await device.next()).message.data, { to: 'many' });
    });
  }

  it('is refused with a token that nobody gave it', async () => {
    const credential = { getAccessToken: async () => ({ access_token: 'ya29.forged', expires_in: 3600 }) };
    const forger = initializeApp({ credential, projectId: demo.projectId }, 'forger');
    const sent = getMessaging(forger)[MANY[0]]([{ token: device.token }]);
    const outcome = await sent.then(({ responses }) => responses[0].error, (error) => error);
    assert.match(outcome.code, /^messaging\/(third-party-auth-error|authentication-error)$/);
    await deleteApp(forger);
  });
});
