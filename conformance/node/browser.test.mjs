// Debian's Chromium with the Firebase JS SDK, unmodified: a web app from its permission to the
// token that is no more.

import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { createRequire } from 'node:module';
import { deleteApp, initializeApp } from 'firebase-admin/app';
import { getMessaging } from 'firebase-admin/messaging';
import { Browser } from './browser/chromium.mjs';
import { Site } from './browser/site.mjs';
import { demo } from './support/settings.mjs';
import { PATIENCE, within } from './support/waiting.mjs';

const webPush = createRequire(import.meta.url)('web-push');

describe('Chromium with the Firebase JS SDK', { timeout: 240_000 }, () => {
  let app, messaging, site, browser, page, token;

  before(async () => {
    app = initializeApp();
    messaging = getMessaging(app);
    site = await Site.start(demo);
    browser = new Browser(process.env.CRESSET_CA_FILE);
    page = await within(browser.open(site.address), 'starting Chromium', 60_000);
    page.setDefaultTimeout(PATIENCE);
  });

  after(async () => {
    await browser?.remove();
    site?.stop();
    if (app) await deleteApp(app);
  });

  const step = (name, body) =>
    it(name, async () => {
      try {
        await body();
      } catch (error) {
        error.message += `\nThe browser said:\n  ${browser.log.slice(-30).join('\n  ')}`;
        throw error;
      }
    });

  /** In the page, bounded: a promise of the SDK's may never end. */
  const inPage = (name, ...args) =>
    within(page.evaluate(([f, args]) => globalThis.app[f](...args), [name, args]), `${name} in the page`, 60_000);
  const leave = () => page.goto('about:blank');
  const visit = () => page.goto(site.address);

  step('gives permission', async () => {
    await visit();
    assert.equal(await page.evaluate(() => navigator.onLine), true, 'Chromium believes itself offline');
    assert.equal(await inPage('askPermission'), 'granted');
  });

  step('getToken', async () => {
    token = await inPage('getToken');
    assert.match(token, /^[\w-]{11,}:APA91b[\w-]{100,}$/);
    assert.equal(await inPage('getToken'), token, 'the same when asked again');
  });

  step('onMessage, in the foreground', async () => {
    await messaging.send({ token, data: { where: 'foreground' }, notification: { title: 'Front', body: 'text' } });
    const payload = await site.foreground.next('onMessage');
    assert.deepEqual(payload.data, { where: 'foreground' });
    assert.deepEqual([payload.notification.title, payload.notification.body], ['Front', 'text']);
    assert.equal(payload.from, demo.messagingSenderId);
  });

  step('onMessage of a topic, which it came by', async () => {
    assert.equal((await messaging.subscribeToTopic(token, 'browsers')).successCount, 1);
    await messaging.send({ topic: 'browsers', data: { where: 'topic' } });
    const payload = await site.foreground.next('onMessage');
    assert.deepEqual([payload.data, payload.from], [{ where: 'topic' }, '/topics/browsers']);
    await messaging.send({ condition: "'browsers' in topics && !('x' in topics)", data: { where: 'condition' } });
    const other = await site.foreground.next('onMessage');
    assert.deepEqual([other.data, other.from], [{ where: 'condition' }, demo.messagingSenderId]);
    assert.equal((await messaging.unsubscribeFromTopic(token, 'browsers')).successCount, 1);
  });

  step('onBackgroundMessage, with no window of the app', async () => {
    await leave();
    await messaging.send({ token, data: { where: 'background' } });
    const { payload, notifications } = await site.background.next('onBackgroundMessage');
    assert.deepEqual(payload.data, { where: 'background' });
    assert.deepEqual(notifications, []);
  });

  step('a notification that the SDK shows', async () => {
    await messaging.send({
      token,
      notification: { title: 'Shown', body: 'by the SDK' },
      webpush: { notification: { requireInteraction: true }, fcmOptions: { link: 'https://localhost/' } },
    });
    const { payload, notifications } = await site.background.next('onBackgroundMessage');
    assert.equal(payload.notification.title, 'Shown');
    assert.deepEqual(notifications.map(({ title, body }) => [title, body]), [['Shown', 'by the SDK']]);
  });

  step('a message that was stored while the browser was closed', async () => {
    await browser.close();
    await messaging.send({ token, data: { where: 'stored' } });
    page = await within(browser.open(site.address), 'starting Chromium again', 60_000);
    const { payload } = await site.background.next('onBackgroundMessage after the start', 60_000);
    assert.deepEqual(payload.data, { where: 'stored' });
    await visit();
    assert.equal(await inPage('getToken'), token, 'the same token after a restart');
  });

  step('deleteToken, after which the sender is told UNREGISTERED', async () => {
    assert.equal(await inPage('deleteToken'), true);
    const sent = messaging.send({ token, data: { where: 'nowhere' } });
    await assert.rejects(sent, { code: 'messaging/registration-token-not-registered' });
  });

  step('getToken again gives another token, which receives', async () => {
    const another = await inPage('getToken');
    assert.notEqual(another, token);
    await messaging.send({ token: another, data: { where: 'again' } });
    assert.deepEqual((await site.foreground.next('onMessage')).data, { where: 'again' });
  });

  step('a push of web-push to a subscription of the page\'s own, in either coding', async () => {
    const vapidDetails = { subject: 'mailto:push@example.com', ...webPush.generateVAPIDKeys() };
    const subscription = await inPage('subscribe', vapidDetails.publicKey);
    // Its host is in Chromium's code, and leads here.
    assert.match(subscription.endpoint, /^https:\/\/(fcm\.googleapis|jmt17\.google)\.com\/fcm\/send\//);
    for (const contentEncoding of ['aes128gcm', 'aesgcm']) {
      await webPush.sendNotification(subscription, contentEncoding, { vapidDetails, TTL: 60, contentEncoding });
      assert.equal(await site.pushes.next('a push'), contentEncoding);
    }
    assert.equal(await inPage('unsubscribe'), true);
  });
});
