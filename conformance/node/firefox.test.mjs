// Debian's Firefox, pointed at our push service: a page with a subscription of its own, and one with the
// Firebase JS SDK.

import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { after, before, describe, it } from 'node:test';
import { deleteApp, initializeApp } from 'firebase-admin/app';
import { getMessaging } from 'firebase-admin/messaging';
import { Firefox, INSTALLED } from './browser/firefox.mjs';
import { Site } from './browser/site.mjs';
import { demo } from './support/settings.mjs';
import { within } from './support/waiting.mjs';

const webPush = createRequire(import.meta.url)('web-push');
const vapidDetails = { subject: 'mailto:push@example.com', ...webPush.generateVAPIDKeys() };

if (!INSTALLED) console.error('Firefox is not installed: IT IS NOT TESTED');

describe('Firefox', { timeout: 280_000, skip: INSTALLED ? false : 'Firefox is not installed' }, () => {
  let app, messaging, site, firefox, subscription, token;

  before(async () => {
    app = initializeApp();
    messaging = getMessaging(app);
    site = await Site.start(demo);
    firefox = new Firefox(process.env.CRESSET_CA_FILE);
    await firefox.open();
    await firefox.goto(site.address);
  });

  after(async () => {
    await firefox?.remove();
    site?.stop();
    if (app) await deleteApp(app);
  });

  const step = (name, body) =>
    it(name, async () => {
      try {
        await body();
      } catch (error) {
        error.message += `\nFirefox said:\n  ${firefox.log.slice(-40).join('\n  ')}`;
        throw error;
      }
    });
  const send = (text, options = {}) =>
    webPush.sendNotification(subscription, text, { vapidDetails, TTL: 60, ...options });

  step('subscribes', async () => {
    subscription = await firefox.inPage('subscribe', vapidDetails.publicKey);
    assert.match(subscription.endpoint, /^https:\/\/localhost:8443\/wpush\/v2\//);
  });

  step('receives a push of web-push, also without content', async () => {
    await send('hello', { urgency: 'high' });
    assert.equal(await site.pushes.next('a push'), 'hello');
    await send(null);
    assert.equal(await site.pushes.next('a push without content'), '');
  });

  step('acknowledges: what it had does not come again, and what came while it was closed does', async () => {
    await firefox.close();
    await send('old', { topic: 'score' });
    await send('new', { topic: 'score' });
    await firefox.open();
    await firefox.goto(site.address);
    assert.equal(await site.pushes.next('a push that waited'), 'new');
    await send('last');
    assert.equal(await site.pushes.next('a push'), 'last');
  });

  step('getToken of the JS SDK, by a subscription with the project\'s key', async () => {
    token = await firefox.inPage('getToken', process.env.CONFORMANCE_VAPID_KEY);
    assert.match(token, /^[\w-]{11,}:APA91b[\w-]{100,}$/);
  });

  step('onMessage, in the foreground', async () => {
    await messaging.send({ token, data: { where: 'foreground' }, notification: { title: 'Front', body: 'text' } });
    const payload = await site.foreground.next('onMessage');
    assert.deepEqual(payload.data, { where: 'foreground' });
    assert.equal(payload.from, demo.messagingSenderId);
  });

  step('onMessage of a topic', async () => {
    assert.equal((await messaging.subscribeToTopic(token, 'foxes')).successCount, 1);
    await messaging.send({ topic: 'foxes', data: { where: 'topic' } });
    assert.deepEqual((await site.foreground.next('onMessage')).data, { where: 'topic' });
  });

  step('onBackgroundMessage, with no window of the app', async () => {
    await firefox.goto('about:blank');
    await messaging.send({ token, data: { where: 'background' } });
    const { payload } = await site.background.next('onBackgroundMessage');
    assert.deepEqual(payload.data, { where: 'background' });
    await firefox.goto(site.address);
  });

  step('deleteToken, after which the sender is told UNREGISTERED', async () => {
    assert.equal(await firefox.inPage('deleteToken'), true);
    const sent = messaging.send({ token, data: { where: 'nowhere' } });
    await assert.rejects(sent, { code: 'messaging/registration-token-not-registered' });
  });

  step('unsubscribes, after which senders are told that it is gone', async () => {
    assert.equal(await firefox.inPage('unsubscribe'), true);
    // The page need not wait for the push service.
    const gone = async () => {
      while ((await send('x').catch((error) => error)).statusCode !== 410);
    };
    await within(gone(), 'the end of the subscription');
  });
});
