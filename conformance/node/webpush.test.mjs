// Cresset as a push service: npm web-push sends to a receiver that is connected by MCS, and to a browser of
// Mozilla's; and is refused as it knows it.

import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { after, before, describe, it } from 'node:test';
import { PushReceiver } from '@eneris/push-receiver';
import { MozillaBrowser } from './support/mozilla.mjs';
import { demo } from './support/settings.mjs';
import { Arrivals, within } from './support/waiting.mjs';

const webPush = createRequire(import.meta.url)('web-push');

const subject = 'mailto:push@example.com';
const vapidDetails = { subject, ...webPush.generateVAPIDKeys() };
const other = { subject, ...webPush.generateVAPIDKeys() };

const refused = (sending) =>
  sending.then(
    () => assert.fail('it was taken'),
    (error) => error.statusCode,
  );

describe('web-push, to a receiver that is connected by MCS', { timeout: 120_000 }, () => {
  const arrivals = new Arrivals();
  let receiver;
  let subscription;
  before(async () => {
    receiver = new PushReceiver({ firebase: demo, vapidKey: vapidDetails.publicKey });
    receiver.onNotification((envelope) => arrivals.push(envelope));
    let credentials;
    receiver.onCredentialsChanged(({ newCredentials }) => (credentials = newCredentials));
    await within(receiver.connect(), 'registering and connecting');
    const { gcm, keys } = credentials;
    subscription = {
      endpoint: `https://fcm.googleapis.com/fcm/send/${gcm.token}`,
      keys: { p256dh: keys.publicKey, auth: keys.authSecret },
    };
  });
  after(() => receiver?.destroy());

  // The coding that receivers read.
  const send = (data, options = {}) =>
    webPush.sendNotification(subscription, JSON.stringify({ data }), {
      vapidDetails,
      TTL: 60,
      contentEncoding: 'aesgcm',
      ...options,
    });

  it('delivers', async () => {
    const answer = await send({ n: '1' }, { urgency: 'high', topic: 'news' });
    assert.equal(answer.statusCode, 201);
    assert.equal(answer.headers.ttl, '60');
    assert.match(answer.headers.location, /^https:\/\/fcm\.googleapis\.com\/m\//);
    assert.deepEqual((await arrivals.next('a push')).message.data, { n: '1' });
  });

  it('delivers by either path', async () => {
    const endpoint = subscription.endpoint.replace('/fcm/send/', '/wp/');
    const text = JSON.stringify({ data: { n: '2' } });
    const options = { vapidDetails, TTL: 60, contentEncoding: 'aesgcm' };
    await webPush.sendNotification({ ...subscription, endpoint }, text, options);
    assert.deepEqual((await arrivals.next('a push')).message.data, { n: '2' });
  });

  it('delivers now, if it is now or never', async () => {
    assert.equal((await send({ n: '3' }, { TTL: 0 })).statusCode, 201);
    assert.deepEqual((await arrivals.next('a push')).message.data, { n: '3' });
  });

  it('refuses another key, none, and what is too large', async () => {
    assert.equal(await refused(send({}, { vapidDetails: other })), 403);
    assert.equal(await refused(send({}, { vapidDetails: null })), 401);
    assert.equal(await refused(send({ large: 'x'.repeat(4_500) })), 413);
  });

  it('knows no other endpoint', async () => {
    const endpoint = 'https://fcm.googleapis.com/fcm/send/none';
    const sending = webPush.sendNotification({ ...subscription, endpoint }, 'x', { vapidDetails });
    assert.equal(await refused(sending), 404);
  });
});

describe('web-push, to a browser of Mozilla\'s', { timeout: 120_000 }, () => {
  const browser = new MozillaBrowser();
  let subscription;
  before(async () => {
    await browser.connect();
    subscription = await browser.subscribe(vapidDetails.publicKey);
  });
  after(() => browser.close());

  const send = (text, options = {}) =>
    webPush.sendNotification(subscription, text, { vapidDetails, TTL: 60, ...options });
  const next = async () => browser.text(await browser.next());

  it('delivers, in either coding', async () => {
    assert.match(subscription.endpoint, /^https:\/\/localhost:8443\/wpush\/v2\//);
    for (const contentEncoding of ['aes128gcm', 'aesgcm']) {
      const answer = await send(contentEncoding, { contentEncoding, urgency: 'high', topic: 'news' });
      assert.equal(answer.statusCode, 201);
      assert.equal(await next(), contentEncoding);
    }
  });

  it('delivers what has no content', async () => {
    assert.equal((await send(null)).statusCode, 201);
    assert.equal(await next(), null);
  });

  it('delivers as much as a push service must take', async () => {
    const largest = 'x'.repeat(3_993);
    await send(largest);
    assert.equal(await next(), largest);
    assert.equal(await refused(send(`${largest}x`)), 413);
  });

  it('refuses another key, none, and a topic that is none', async () => {
    assert.equal(await refused(send('x', { vapidDetails: other })), 401);
    assert.equal(await refused(send('x', { vapidDetails: null })), 401);
    assert.equal(await refused(send('x', { headers: { Topic: 'a+b' } })), 400);
  });

  it('keeps what comes while it is away: of a topic the newest, and nothing that was for now', async () => {
    await browser.close();
    await send('never', { TTL: 0 });
    for (const text of ['old', 'new']) await send(text, { topic: 'score' });
    const { headers } = await send('taken back');
    const answer = await fetch(headers.location, { method: 'DELETE' });
    assert.equal(answer.status, 204);
    await send('plain');
    await browser.connect();
    assert.deepEqual([await next(), await next()], ['new', 'plain']);
  });

  it('says when a subscription has ended', async () => {
    const ended = await browser.subscribe(vapidDetails.publicKey);
    await browser.unsubscribe(ended);
    assert.equal(await refused(webPush.sendNotification(ended, 'x', { vapidDetails })), 410);
  });
});
