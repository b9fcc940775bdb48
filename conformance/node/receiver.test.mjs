// @eneris/push-receiver, unmodified, as a device: it registers, receives, goes and comes back.

import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { deleteApp, initializeApp } from 'firebase-admin/app';
import { getMessaging } from 'firebase-admin/messaging';
import { Receiver } from './support/receiver.mjs';
import { demo } from './support/settings.mjs';

describe('@eneris/push-receiver', { timeout: 120_000 }, () => {
  let app, messaging, device;

  before(async () => {
    app = initializeApp();
    messaging = getMessaging(app);
  });

  after(async () => {
    device?.stop();
    if (app) await deleteApp(app);
  });

  const send = (data, more = {}) => messaging.send({ token: device.token, data, ...more });

  /** Away, and back as the same device; reports what it received, as an app that keeps its list does. */
  const away = async (meanwhile) => {
    device.stop();
    await meanwhile();
    const { credentials, persistentIds } = device;
    device = await Receiver.start(demo, { credentials, persistentIds });
  };

  it('registers as a web app', async () => {
    device = await Receiver.start(demo);
    assert.match(device.token, /^[\w-]{11,}:APA91b[\w-]{100,}$/);
  });

  it('receives while connected, with the message id that the sender was told', async () => {
    const name = await send({ n: '1' });
    const { message, persistentId } = await device.next();
    assert.deepEqual(message.data, { n: '1' });
    assert.equal(name, `projects/${demo.projectId}/messages/${message.fcmMessageId}`);
    assert.ok(persistentId);
  });

  it('receives in the order of sending', async () => {
    for (let n = 0; n < 20; n += 1) await send({ n: `${n}` });
    const received = (await device.take(20)).map(({ message }) => message.data.n);
    assert.deepEqual(received, Array.from({ length: 20 }, (_, n) => `${n}`));
  });

  it('gets what was stored while it was away, once, in order', async () => {
    await away(async () => {
      for (const n of ['a', 'b', 'c']) await send({ n });
    });
    const stored = (await device.take(3)).map(({ message }) => message.data.n);
    assert.deepEqual(stored, ['a', 'b', 'c']);
    await away(() => send({ n: 'd' }));
    assert.deepEqual((await device.next()).message.data, { n: 'd' });
  });

  it('gets the same again, under the same persistent id, when it did not say it has it', async () => {
    await away(() => {});
    await send({ n: 'twice' });
    const first = await device.next();
    device.stop();
    device = await Receiver.start(demo, { credentials: device.credentials });
    const second = await device.next();
    assert.deepEqual(second.message.data, { n: 'twice' });
    assert.equal(second.persistentId, first.persistentId);
  });

  it('does not get what could only be delivered at once', async () => {
    await away(async () => {
      await send({ n: 'now or never' }, { android: { ttl: 0 }, webpush: { headers: { TTL: '0' } } });
      await send({ n: 'later' });
    });
    assert.deepEqual((await device.next()).message.data, { n: 'later' });
  });

  it('gets the newest of those that replace each other', async () => {
    const score = { webpush: { headers: { Topic: 'score' } }, android: { collapseKey: 'score' } };
    await away(async () => {
      for (const n of ['1', '2', '3']) await send({ n }, score);
    });
    assert.deepEqual((await device.next()).message.data, { n: '3' });
    await send({ n: 'after' });
    assert.deepEqual((await device.next()).message.data, { n: 'after' });
  });
});
