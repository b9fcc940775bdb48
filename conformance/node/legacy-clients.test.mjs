// App servers of old, unmodified: node-gcm, fcm-node, fcm-push (JSON) and fcm (a form).

import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { after, before, beforeEach, describe, it } from 'node:test';
import { createGroup } from './support/groups.mjs';
import { Receiver } from './support/receiver.mjs';
import { SERVER_KEY, STRANGE_TOKEN, demo, other } from './support/settings.mjs';
import { within } from './support/waiting.mjs';

const require = createRequire(import.meta.url);
const gcm = require('node-gcm');
const FcmNode = require('fcm-node');
const FcmPush = require('fcm-push');
const { FCM: PlainFcm } = require('fcm');

/** What a callback of (error, result) gets: both, as some of these clients give both. */
const called = (call) =>
  within(new Promise((resolve) => call((error, result) => resolve({ error, result }))), 'a callback');

describe('app servers of old', { timeout: 120_000 }, () => {
  let device, second, foreign;

  before(async () => {
    [device, second] = [await Receiver.start(demo), await Receiver.start(demo)];
    foreign = await Receiver.start(other);
  });

  after(() => [device, second, foreign].forEach((one) => one?.stop()));

  beforeEach(() => [device, second].forEach((one) => one.forget()));

  describe('node-gcm', () => {
    const sender = new gcm.Sender(SERVER_KEY);
    const send = (message, to, through = sender) =>
      called((callback) => through.sendNoRetry(new gcm.Message(message), to, callback));

    it('sends to a token, and each type of value arrives as text', async () => {
      const notification = { title: 'T', body: 'B', icon: '/i.png' };
      const { error, result } = await send(
        { data: { text: 'ü €', n: 7, yes: true, deep: { a: [1] } }, notification, priority: 'high', timeToLive: 60 },
        device.token,
      );
      assert.equal(error, null);
      assert.deepEqual([result.success, result.failure, result.canonical_ids], [1, 0, 0]);
      const { message } = await device.next();
      assert.deepEqual(message.data, { text: 'ü €', n: '7', yes: 'true', deep: '{"a":[1]}' });
      assert.deepEqual([message.notification.title, message.notification.icon], ['T', '/i.png']);
    });

    it('tells the good token from the kinds of bad ones', async () => {
      const registrationTokens = [device.token, 'not-a-token', STRANGE_TOKEN, foreign.token];
      const { result } = await send({ data: { to: 'many' } }, { registrationTokens });
      assert.deepEqual(result.results.map(({ error }) => error), [
        undefined,
        'InvalidRegistration',
        'NotRegistered',
        'MismatchSenderId',
      ]);
      assert.deepEqual((await device.next()).message.data, { to: 'many' });
    });

    it('sends to a topic, a condition and a group', async () => {
      for (const to of [{ topic: '/topics/old' }, { condition: "'old' in topics" }]) {
        const { error, result } = await send({ data: { k: 'v' } }, to);
        assert.equal(error, null);
        assert.ok(Number.isInteger(result.message_id), JSON.stringify(result));
      }
      const key = await createGroup(`node-gcm-${process.pid}`, [device.token, second.token]);
      const { result } = await send({ data: { to: 'group' } }, { notificationKey: key });
      assert.deepEqual(result, { success: 2, failure: 0 });
      for (const one of [device, second]) assert.deepEqual((await one.next()).message.data, { to: 'group' });
    });

    it('is refused with a bad key, and with too many tokens', async () => {
      const stranger = new gcm.Sender('AAAAbad:APA91b');
      assert.equal((await send({ data: {} }, device.token, stranger)).error, 401);
      const registrationTokens = Array.from({ length: 1001 }, () => STRANGE_TOKEN);
      assert.equal((await send({ data: {} }, { registrationTokens })).error, 400);
    });
  });

  describe('fcm-node', () => {
    const fcm = new FcmNode(SERVER_KEY);

    it('sends to a token', async () => {
      const { error, result } = await called((cb) => fcm.send({ to: device.token, data: { by: 'fcm-node' } }, cb));
      assert.equal(error, null);
      assert.equal(JSON.parse(result).success, 1);
      assert.deepEqual((await device.next()).message.data, { by: 'fcm-node' });
    });

    it('finds each kind of answer in its text', async () => {
      const failed = await called((cb) => fcm.send({ to: STRANGE_TOKEN, data: {} }, cb));
      assert.equal(JSON.parse(failed.error).results[0].error, 'NotRegistered');
      const topic = await called((cb) => fcm.send({ to: '/topics/old', data: {} }, cb));
      assert.equal(topic.error, null);
      assert.ok(JSON.parse(topic.result).message_id > 0);
      const stranger = new FcmNode('AAAAbad:APA91b');
      const refused = await called((cb) => stranger.send({ to: device.token }, cb));
      assert.match(`${refused.error}`, /NotAuthorizedError/);
    });
  });

  describe('fcm-push', () => {
    it('sends to a token, and tells why not', async () => {
      const fcm = new FcmPush(SERVER_KEY);
      const sent = await within(fcm.send({ to: device.token, data: { by: 'fcm-push' } }), 'fcm-push');
      assert.equal(JSON.parse(sent).success, 1);
      assert.deepEqual((await device.next()).message.data, { by: 'fcm-push' });
      await assert.rejects(fcm.send({ to: STRANGE_TOKEN, data: {} }), (reason) => /NotRegistered/.test(`${reason}`));
      const stranger = new FcmPush('AAAAbad:APA91b');
      await assert.rejects(stranger.send({ to: device.token }), (reason) => /NotAuthorizedError/.test(`${reason}`));
    });
  });

  describe('fcm, which posts forms', () => {
    const fcm = new PlainFcm(SERVER_KEY);

    it('sends to a token', async () => {
      const message = { registration_id: device.token, 'data.by': 'a form', 'data.with space': 'a&b=c', collapse_key: 'k' };
      const { error, result } = await called((cb) => fcm.send(message, cb));
      assert.equal(error, null);
      assert.match(result, /^0:\d+%/);
      assert.deepEqual((await device.next()).message.data, { by: 'a form', 'with space': 'a&b=c' });
    });

    it('is told why not, in a word', async () => {
      for (const [registrationId, word] of [
        ['not-a-token', 'InvalidRegistration'],
        [STRANGE_TOKEN, 'NotRegistered'],
        [foreign.token, 'MismatchSenderId'],
      ]) {
        const { error } = await called((cb) => fcm.send({ registration_id: registrationId }, cb));
        assert.equal(error, word);
      }
    });
  });
});
