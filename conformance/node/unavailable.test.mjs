// A server whose disk is full, and again has room.

import assert from 'node:assert/strict';
import { rmSync } from 'node:fs';
import { after, before, describe, it } from 'node:test';
import { MAJOR, SDK_VERSION, deleteApp, getMessaging, initializeApp } from './support/admin.mjs';
import { androidToken } from './support/android.mjs';
import { fill } from './support/full.mjs';
import { FILLER, demo } from './support/settings.mjs';

describe(`a full disk, as firebase-admin ${SDK_VERSION} understands it`, { timeout: 240_000 }, () => {
  let app, messaging, token;

  before(async () => {
    app = initializeApp();
    messaging = getMessaging(app);
    token = await androidToken(demo);
    fill(FILLER);
  });

  after(async () => {
    rmSync(FILLER, { force: true });
    if (app) await deleteApp(app);
  });

  if (MAJOR <= 12) {
    it('sendAll: each message for itself, at once', async () => {
      const { responses } = await messaging.sendAll([{ token, data: { n: '1' } }, { token: 'not-a-token' }]);
      const codes = responses.map(({ error }) => error?.code);
      assert.deepEqual(codes, ['messaging/server-unavailable', 'messaging/invalid-argument']);
    });
  } else {
    it('send: after four more attempts', async () => {
      await assert.rejects(messaging.send({ token, data: { n: '1' } }), { code: 'messaging/server-unavailable' });
    });
  }

  it('once there is room, it sends', async () => {
    rmSync(FILLER);
    assert.match(await messaging.send({ token, data: { n: '2' } }), /^projects\//);
  });
});
