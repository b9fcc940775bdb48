// Topics, conditions and device groups, by firebase-admin for Node, unmodified; the newest and older
// majors.

import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, it } from 'node:test';
import { SDK_VERSION, applicationDefault, deleteApp, getMessaging, initializeApp } from './support/admin.mjs';
import { Receiver } from './support/receiver.mjs';
import { STRANGE_TOKEN, demo, other } from './support/settings.mjs';

/** Topics and conditions are told by a number. */
const NUMBER = new RegExp(`^projects/${demo.projectId}/messages/\\d+$`);

describe(`topics with firebase-admin ${SDK_VERSION} for Node`, { timeout: 120_000 }, () => {
  const topic = (name) => `${name}-${process.pid}`;
  const [news, sports] = ['news', 'sports'].map(topic);
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

  /** What a device gets before a message that is sent to it alone. */
  const until = async (device) => {
    await messaging.send({ token: device.token, data: { end: 'end' } });
    const got = [];
    for (;;) {
      const { message } = await device.next();
      if (message.data.end) return got;
      got.push(message);
    }
  };

  it('subscribes, each token answered in its place', async () => {
    const tokens = [first.token, 'not-a-token', STRANGE_TOKEN, second.token, foreign.token];
    const { successCount, failureCount, errors } = await messaging.subscribeToTopic(tokens, news);
    assert.deepEqual([successCount, failureCount], [2, 3]);
    assert.deepEqual(errors.map(({ index }) => index), [1, 2, 4]);
    assert.deepEqual(errors.slice(0, 2).map(({ error }) => error.code), [
      'messaging/invalid-registration-token',
      'messaging/registration-token-not-registered',
    ]);
    const one = await messaging.subscribeToTopic(second.token, `/topics/${sports}`);
    assert.equal(one.successCount, 1);
  });

  it('sends to a topic, and the device sees from where', async () => {
    assert.match(await messaging.send({ topic: news, data: { n: '1' } }), NUMBER);
    for (const device of [first, second]) {
      const { message } = await device.next();
      assert.deepEqual([message.data, message.from], [{ n: '1' }, `/topics/${news}`]);
    }
  });

  it('sends to a condition', async () => {
    const condition = `'${news}' in topics && !('${sports}' in topics)`;
    assert.match(await messaging.send({ condition, data: { n: '2' } }), NUMBER);
    const { message } = await first.next();
    assert.deepEqual([message.data, message.from], [{ n: '2' }, demo.messagingSenderId]);
    assert.deepEqual(await until(second), []);
    await assert.rejects(messaging.send({ condition: `'${news}' in topic`, data: {} }), {
      code: 'messaging/invalid-argument',
    });
  });

  it('keeps for a device that is away, in the order of sending', async () => {
    second.stop();
    for (const n of ['1', '2', '3']) await messaging.send({ topic: sports, data: { n } });
    await messaging.send({ token: second.token, data: { n: '4' } });
    const { credentials, persistentIds } = second;
    second = await Receiver.start(demo, { credentials, persistentIds });
    assert.deepEqual((await second.take(4)).map(({ message }) => message.data.n), ['1', '2', '3', '4']);
  });

  it('unsubscribes', async () => {
    assert.equal((await messaging.unsubscribeFromTopic([first.token], news)).successCount, 1);
    await messaging.send({ topic: news, data: { n: '5' } });
    assert.deepEqual((await second.next()).message.data, { n: '5' });
    assert.deepEqual(await until(first), []);
  });

  it('sends to a device group', async () => {
    const { access_token: token } = await applicationDefault().getAccessToken();
    const answer = await fetch('https://fcm.googleapis.com/fcm/notification', {
      method: 'POST',
      headers: {
        authorization: `Bearer ${token}`,
        access_token_auth: 'true',
        project_id: demo.messagingSenderId,
        'content-type': 'application/json',
      },
      body: JSON.stringify({
        operation: 'create',
        notification_key_name: topic('group'),
        registration_ids: [first.token, second.token],
      }),
    });
    const { notification_key: key } = await answer.json();
    await messaging.send({ token: key, data: { n: '6' } });
    for (const device of [first, second]) assert.deepEqual((await device.next()).message.data, { n: '6' });
  });
});
