// App servers by XMPP: node-xcs, unmodified.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { after, before, describe, it } from 'node:test';
import xcs from 'node-xcs';
import { PACKAGE, demo } from './support/settings.mjs';

const { Message, Sender } = xcs;
const SENDER = demo.messagingSenderId;

/** A device that listens and talks, in a process of its own (sdk/device/examples/talk.rs). */
class Phone {
  #told = { token: [], data: [], taken: [] };
  #waiting = { token: [], data: [], taken: [] };

  constructor() {
    this.process = spawn(process.env.CONFORMANCE_TALKER, [PACKAGE, SENDER], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    createInterface({ input: this.process.stdout }).on('line', (line) => {
      for (const [kind, what] of Object.entries(JSON.parse(line))) {
        const waiting = this.#waiting[kind].shift();
        if (waiting) waiting(what);
        else this.#told[kind].push(what);
      }
    });
  }

  next(kind) {
    if (this.#told[kind].length > 0) return this.#told[kind].shift();
    return new Promise((resolve) => this.#waiting[kind].push(resolve));
  }

  say(message_id, data) {
    this.process.stdin.write(`${JSON.stringify({ message_id, data })}\n`);
  }

  stop() {
    this.process.stdin.end();
  }
}

/** It throws once it has begun to connect, on every Node since 12, and connects all the same. */
function start(sender) {
  try {
    sender.start();
  } catch (error) {
    assert.match(error.message, /setTimeout is not a function/);
  }
}

describe('node-xcs', { timeout: 60_000 }, () => {
  let phone, token, sender;

  before(async () => {
    phone = new Phone();
    token = await phone.next('token');
    sender = new Sender(SENDER, process.env.CONFORMANCE_SERVER_KEY);
    const connected = new Promise((resolve) => sender.on('connected', resolve));
    start(sender);
    await connected;
  });

  after(() => {
    sender?.close();
    phone?.stop();
  });

  const send = (message, to) => new Promise((resolve) => sender.sendNoRetry(message, to, resolve));

  it('sends, and is acked', async () => {
    const message = new Message('m-1').addData('word', 'ü <&> "€"').timeToLive(60).build();
    const result = await send(message, token);
    assert.equal(result.getMessageType(), 'ack');
    assert.equal(result.getFrom(), token);
    assert.equal((await phone.next('data')).word, 'ü <&> "€"');
  });

  it('is told what is wrong', async () => {
    const result = await send(new Message('m-2').addData('k', 'v').build(), 'nobody');
    assert.equal(result.getMessageType(), 'nack');
    assert.equal(result.getError(), 'BAD_REGISTRATION');
    assert.equal(result.getErrorDescription(), "Invalid token on 'to' field: nobody");
  });

  it('hears what a device says, once', async () => {
    const heard = [];
    sender.on('message', (id, from, data, category) => heard.push({ id, from, data, category }));
    for (const id of ['u-1', 'u-2']) {
      phone.say(id, { word: id });
      assert.equal(await phone.next('taken'), id);
    }
    while (heard.length < 2) await new Promise((resolve) => sender.once('message', resolve));
    const expected = ['u-1', 'u-2'].map((id) => ({ id, from: token, data: { word: id }, category: PACKAGE }));
    assert.deepEqual(heard, expected);
  });

  it('gets receipts', async () => {
    const receipt = once(sender.events, 'receipt');
    await send(new Message('r-1').addData('k', 'v').deliveryReceiptRequested(true).build(), token);
    const [id, from, data, category] = await receipt;
    assert.deepEqual([id, from, category], ['dr2:r-1', 'gcm.googleapis.com', PACKAGE]);
    assert.equal(data.message_status, 'MESSAGE_SENT_TO_DEVICE');
    assert.equal(data.device_registration_id, token);
  });
});
