// Senders that others wrote, against our fakes of push services: what they send is taken, and what is wrong
// is refused as they know it. Our own sender is tested against the same fakes.

import assert from 'node:assert/strict';
import https from 'node:https';
import { createRequire } from 'node:module';
import { after, before, describe, it } from 'node:test';
import { Fake } from './support/fake.mjs';

const require = createRequire(import.meta.url);
const webPush = require('web-push');
const apn = require('@parse/node-apn');

const vapid = webPush.generateVAPIDKeys();
const details = { subject: 'mailto:push@example.com', ...vapid };

for (const style of ['mozilla', 'google', 'apple', 'microsoft']) {
  describe(`web-push, to a service like ${style}'s`, () => {
    let fake;
    let agent;
    let subscription;
    before(async () => {
      fake = await Fake.start('web-push', style);
      agent = new https.Agent({ ca: fake.ca });
      subscription = await fake.do('subscribe', { key: vapid.publicKey });
    });
    after(() => {
      agent.destroy();
      fake.stop();
    });

    // What Microsoft's service wants beside the rest is the sender's to know.
    const headers = style === 'microsoft' ? { 'X-WNS-Cache-Policy': 'cache' } : {};
    const send = (text, options = {}) =>
      webPush.sendNotification(subscription, text, { vapidDetails: details, agent, TTL: 60, headers, ...options });
    const refused = (sending) =>
      sending.then(
        () => assert.fail('it was taken'),
        (error) => error.statusCode,
      );

    it('delivers', async () => {
      const answer = await send('hello', { urgency: 'high', topic: 'news' });
      assert.equal(answer.statusCode, 201);
      const [arrival] = await fake.do('arrivals');
      assert.deepEqual(arrival, {
        endpoint: subscription.endpoint,
        text: 'hello',
        ttl: 60,
        urgency: 'high',
        topic: 'news',
      });
    });

    it('refuses another key than the subscription\'s', async () => {
      const other = { subject: details.subject, ...webPush.generateVAPIDKeys() };
      const expected = { mozilla: 401, google: 403, apple: 400, microsoft: 403 };
      assert.equal(await refused(send('x', { vapidDetails: other })), expected[style]);
    });

    it('refuses who does not say who it is', async () => {
      const status = await refused(send('x', { vapidDetails: null }));
      assert.ok([401, 403].includes(status), `${status}`);
    });

    it('refuses the older coding', async () => {
      assert.equal(await refused(send('x', { contentEncoding: 'aesgcm' })), 400);
    });

    it('refuses what is too large', async () => {
      assert.equal(await refused(send('x'.repeat(4_500))), 413);
    });

    it('says when a subscription has ended', async () => {
      await fake.do('unsubscribe', { endpoint: subscription.endpoint });
      assert.equal(await refused(send('x')), 410);
    });
  });
}

describe('@parse/node-apn', () => {
  const topic = 'com.example.app';
  const [keyId, teamId] = ['ABC123DEFG', 'DEF123GHIJ'];
  const [device, dead] = ['ab'.repeat(32), 'cd'.repeat(32)];
  let fake;
  let provider;
  let certified;
  before(async () => {
    fake = await Fake.start('apns');
    const { pem } = await fake.do('key', { key_id: keyId, team_id: teamId, topic });
    const { certificate, key } = await fake.do('certificate', { topic });
    await fake.do('device', { token: device, topic });
    await fake.do('device', { token: dead, topic });
    await fake.do('end', { token: dead, since: 1_600_000_000_000 });
    const to = { address: 'localhost', port: fake.port, ca: fake.ca, production: true };
    provider = new apn.Provider({ ...to, token: { key: pem, keyId, teamId } });
    certified = new apn.Provider({ ...to, cert: certificate, key });
  });
  after(async () => {
    await provider.shutdown();
    await certified.shutdown();
    fake.stop();
  });

  const note = (fields = {}) =>
    new apn.Notification({ topic, alert: 'hello', pushType: 'alert', payload: { k: 'v' }, ...fields });
  /** What became of each token. */
  const send = async (notification, tokens, by = provider) => {
    const { sent, failed } = await by.send(notification, tokens);
    return { sent: sent.map((one) => one.device), failed: failed.map((one) => [one.status, one.response?.reason]) };
  };

  it('delivers', async () => {
    assert.deepEqual(await send(note(), device), { sent: [device], failed: [] });
    const [taken] = await fake.do('notifications');
    assert.equal(taken.token, device);
    assert.deepEqual(taken.payload, { aps: { alert: 'hello' }, k: 'v' });
    assert.equal(taken.headers['apns-topic'], topic);
  });

  it('delivers to many at once', async () => {
    const tokens = Array.from({ length: 200 }, (_, n) => n.toString(16).padStart(64, '0'));
    for (const token of tokens) await fake.do('device', { token, topic });
    const { sent, failed } = await send(note(), tokens);
    assert.deepEqual([sent.length, failed], [200, []]);
  });

  it('delivers with a certificate', async () => {
    assert.deepEqual(await send(note(), device, certified), { sent: [device], failed: [] });
  });

  it('is told of the dead, of strangers, and of what is too large', async () => {
    assert.deepEqual((await send(note(), dead)).failed, [[410, 'Unregistered']]);
    assert.deepEqual((await send(note(), 'ef'.repeat(32))).failed, [[400, 'BadDeviceToken']]);
    const large = note({ alert: 'x'.repeat(5_000) });
    assert.deepEqual((await send(large, device)).failed, [[413, 'PayloadTooLarge']]);
    const other = note({ topic: 'com.example.other' });
    assert.deepEqual((await send(other, device)).failed, [[400, 'DeviceTokenNotForTopic']]);
  });
});
