// What is too much, under FCM's own limits: 240 messages to an Android device in a minute, and for a
// project here so many as the run says.

import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { MAJOR, SDK_VERSION, deleteApp, getMessaging, initializeApp } from './support/admin.mjs';
import { androidToken } from './support/android.mjs';
import { PROJECT_PER_MINUTE, demo } from './support/settings.mjs';

const DEVICE_PER_MINUTE = 240;

describe(`quotas, as firebase-admin ${SDK_VERSION} understands them`, { timeout: 120_000 }, () => {
  let app, messaging, token;

  before(async () => {
    app = initializeApp();
    messaging = getMessaging(app);
    token = await androidToken(demo);
  });

  after(async () => {
    if (app) await deleteApp(app);
  });

  const sendMany = (messages, dry) =>
    MAJOR <= 12 ? messaging.sendAll(messages, dry) : messaging.sendEach(messages, dry);

  it('a device may get 240 messages in a minute', async () => {
    const messages = Array.from({ length: DEVICE_PER_MINUTE + 1 }, () => ({ token, data: { n: '1' } }));
    const { successCount, responses } = await sendMany(messages);
    assert.equal(successCount, DEVICE_PER_MINUTE);
    const failed = responses.filter(({ success }) => !success).map(({ error }) => error.code);
    assert.deepEqual(failed, ['messaging/message-rate-exceeded']);
    await assert.rejects(messaging.send({ token }), { code: 'messaging/message-rate-exceeded' });
  });

  it('a project may send so much in a minute', async () => {
    // Those before, and the one that was refused alone.
    const left = PROJECT_PER_MINUTE - (DEVICE_PER_MINUTE + 2);
    const { successCount } = await sendMany(Array.from({ length: left }, () => ({ token })), true);
    assert.equal(successCount, left);
    await assert.rejects(messaging.send({ token }), {
      code: 'messaging/message-rate-exceeded',
      message: /Quota exceeded for quota metric 'Send requests'/,
    });
  });
});
