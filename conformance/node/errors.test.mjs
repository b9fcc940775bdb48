// Every error code of firebase-admin's that a healthy server can cause by the send API. Nothing on the
// wire leads to the others: `internal-error` and `unknown-error` would be our fault,
// `third-party-auth-error` in earnest needs Apple, and the rest is found by the SDK itself
// (`invalid-recipient`, `invalid-payload`) or was of the legacy API
// (`device-message-rate-exceeded`, `payload-size-limit-exceeded`).
// Rates are in quota.test.mjs, `server-unavailable` in unavailable.test.mjs.

import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { SDK_VERSION, applicationDefault, deleteApp, getMessaging, initializeApp } from './support/admin.mjs';
import { Receiver } from './support/receiver.mjs';
import { STRANGE_TOKEN, demo, other } from './support/settings.mjs';

describe(`the errors of firebase-admin ${SDK_VERSION}`, { timeout: 120_000 }, () => {
  let app, device, foreign;

  before(async () => {
    app = initializeApp();
    device = await Receiver.start(demo);
    foreign = await Receiver.start(other);
  });

  after(async () => {
    device?.stop();
    foreign?.stop();
    if (app) await deleteApp(app);
  });

  const refused = (name, message, code, options) =>
    it(`${name}: ${code}`, async () => {
      const from = options ? initializeApp(options(), name) : app;
      try {
        const failed = { code: `messaging/${code}`, message: /./ };
        await assert.rejects(getMessaging(from).send(message()), failed);
        const { responses } = await getMessaging(from).sendEach([message()]);
        assert.deepEqual(responses.map(({ error }) => error?.code), [`messaging/${code}`]);
      } finally {
        if (options) await deleteApp(from);
      }
    });

  const toDevice = (more) => () => ({ token: device.token, ...more });
  refused('a malformed token', () => ({ token: 'not-a-token' }), 'invalid-argument');
  refused('a reserved key of data', toDevice({ data: { from: 'me' } }), 'invalid-argument');
  refused('4,097 bytes', toDevice({ data: { k: 'x'.repeat(4_096) } }), 'invalid-argument');
  refused('a value of the wrong type', toDevice({ webpush: { notification: 'x' } }), 'invalid-argument');
  refused('a header that is no number', toDevice({ webpush: { headers: { TTL: 'x' } } }), 'invalid-argument');
  refused('a condition that is none', () => ({ condition: '(' }), 'invalid-argument');
  refused('a strange token', () => ({ token: STRANGE_TOKEN }), 'registration-token-not-registered');
  refused("another project's token", () => ({ token: foreign.token }), 'mismatched-credential');
  refused("another project's path", toDevice(), 'mismatched-credential', () => ({
    credential: applicationDefault(),
    projectId: other.projectId,
  }));
  refused('a project that is not there', toDevice(), 'mismatched-credential', () => ({
    credential: applicationDefault(),
    projectId: 'no-such-project',
  }));
  // UNAUTHENTICATED is known to its table by this name only.
  refused('an access token that nobody gave', toDevice(), 'third-party-auth-error', () => ({
    credential: { getAccessToken: async () => ({ access_token: 'ya29.forged', expires_in: 3600 }) },
    projectId: demo.projectId,
  }));
});
