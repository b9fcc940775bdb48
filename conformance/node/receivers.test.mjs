// Push receivers that others wrote, unmodified, each as a device: it registers, receives, goes away and
// comes back. @eneris/push-receiver has more in receiver.test.mjs.

import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { after, before, describe, it } from 'node:test';
import { FcmClient, createFcmECDH, generateFcmAuthSecret, registerToFCM } from '@aracna/fcm';
import { PushReceiver } from '@eneris/push-receiver';
import { deleteApp, initializeApp } from 'firebase-admin/app';
import { getMessaging } from 'firebase-admin/messaging';
import { Receiver } from './support/receiver.mjs';
import { PACKAGE, demo } from './support/settings.mjs';
import { Arrivals, within } from './support/waiting.mjs';

const require = createRequire(import.meta.url);
const pushReceiver = require('push-receiver');
const liamcottle = require('@liamcottle/push-receiver');

/** SHA-1 of a certificate that some Android app could be signed with. */
const CERTIFICATE = '61ed377e85d386a8dfee6b864bd85b0bfaa5af81';

// Each has `register()`, which gives what must be kept; `token()` of that; and `connect()`, which gives a
// way to end the connection. `received` is what an application keeps of messages that it was given.
const RECEIVERS = {
  'push-receiver': {
    register: () => pushReceiver.register(demo.messagingSenderId),
    token: (kept) => kept.fcm.token,
    async connect(kept, received, arrivals) {
      const client = await pushReceiver.listen({ ...kept, persistentIds: received }, (message) => {
        arrivals.push({ data: message.notification.data, id: message.persistentId });
      });
      return () => client.destroy();
    },
  },

  // It has the messages of Android apps, which are not encrypted.
  '@liamcottle/push-receiver': {
    register: () =>
      liamcottle.AndroidFCM.register(
        demo.apiKey,
        demo.projectId,
        demo.messagingSenderId,
        demo.appId,
        PACKAGE,
        CERTIFICATE,
      ),
    token: (kept) => kept.fcm.token,
    async connect({ gcm }, received, arrivals) {
      const client = new liamcottle.Client(gcm.androidId, gcm.securityToken, received);
      client.on('ON_DATA_RECEIVED', ({ appData, persistentId }) => {
        const data = Object.fromEntries(appData.map(({ key, value }) => [key, value]));
        arrivals.push({ data: { n: data.n }, id: persistentId });
      });
      await client.connect();
      return () => client.destroy();
    },
  },

  '@eneris/push-receiver': {
    async register() {
      const receiver = await Receiver.start(demo);
      receiver.stop();
      return receiver.credentials;
    },
    token: (kept) => kept.fcm.token,
    async connect(credentials, persistentIds, arrivals) {
      const client = new PushReceiver({ firebase: demo, credentials, persistentIds });
      client.onNotification(({ message, persistentId }) => {
        arrivals.push({ data: message.data, id: persistentId });
      });
      await within(client.connect(), 'the login');
      return () => client.destroy();
    },
  },

  // It takes what one read gives for one message, so that nothing may stand in a record with another.
  // What it has received it keeps by itself.
  '@aracna/fcm': {
    async register() {
      const [ecdh, authSecret] = [createFcmECDH(), generateFcmAuthSecret()];
      const { apiKey, appId: appID, projectId: projectID } = demo;
      const registration = await registerToFCM({
        appID: PACKAGE,
        ece: { authSecret, publicKey: ecdh.getPublicKey() },
        firebase: { apiKey, appID, projectID },
      });
      if (registration instanceof Error) throw registration;
      return { ...registration, ece: { authSecret, privateKey: ecdh.getPrivateKey() } };
    },
    token: (kept) => kept.token,
    async connect({ acg, ece }, _received, arrivals) {
      // After a heartbeat's answer it waits so long, connected or not, and the process with it.
      const client = new FcmClient({ acg, ece, heartbeat: { frequency: 1_000 } });
      let id;
      client.on('message', (message) => (id = message.persistent_id));
      client.on('message-data', ({ data }) => arrivals.push({ data, id }));
      const loggedIn = new Promise((resolve) => client.on('login', resolve));
      const failed = await client.connect();
      if (failed instanceof Error) throw failed;
      await within(loggedIn, 'the login');
      return () => client.disconnect();
    },
  },
};

describe('push receivers', { timeout: 200_000 }, () => {
  let app, messaging;

  before(() => {
    app = initializeApp();
    messaging = getMessaging(app);
  });

  after(() => deleteApp(app));

  for (const [name, receiver] of Object.entries(RECEIVERS)) {
    describe(name, () => {
      const arrivals = new Arrivals();
      const received = [];
      let kept, disconnect;

      const connect = async () => (disconnect = await receiver.connect(kept, [...received], arrivals));
      const send = (n) => messaging.send({ token: receiver.token(kept), data: { n } });
      const next = async () => {
        const { data, id } = await arrivals.next(`a message for ${name}`);
        assert.ok(id);
        received.push(id);
        return data;
      };

      after(() => disconnect?.());

      it('registers', async () => {
        kept = await within(receiver.register(), 'registering');
        assert.match(receiver.token(kept), /^[\w-]{11,}:APA91b[\w-]{100,}$/);
      });

      it('receives while it is connected', async () => {
        await connect();
        // When the first is there it is connected for certain.
        for (const n of ['1', '2']) {
          await send(n);
          assert.deepEqual(await next(), { n });
        }
      });

      it('gets what was sent while it was away, and nothing that it says to have', async () => {
        await disconnect();
        await send('3');
        await connect();
        assert.deepEqual(await next(), { n: '3' });
        await send('4');
        assert.deepEqual(await next(), { n: '4' });
        assert.equal(new Set(received).size, 4);
      });
    });
  }
});
