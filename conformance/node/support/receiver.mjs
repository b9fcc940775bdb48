// A device: @eneris/push-receiver, unmodified. As a program it serves tests in other languages: it
// prints its token, then every message, one JSON object a line, until its standard input ends.

import { pathToFileURL } from 'node:url';
import { PushReceiver } from '@eneris/push-receiver';
import { demo, other } from './settings.mjs';
import { Arrivals, within } from './waiting.mjs';

export class Receiver {
  #client;
  #arrivals = new Arrivals();
  credentials;

  /** Registers, or comes back as who it was, and connects. */
  static async start(firebase, { credentials, persistentIds = [] } = {}) {
    const receiver = new Receiver();
    receiver.credentials = credentials;
    receiver.#client = new PushReceiver({ firebase, credentials, persistentIds });
    receiver.#client.onCredentialsChanged(({ newCredentials }) => (receiver.credentials = newCredentials));
    receiver.#client.onNotification((envelope) => receiver.#arrivals.push(envelope));
    await within(receiver.#client.connect(), 'registering and connecting');
    return receiver;
  }

  get token() {
    return this.credentials.fcm.token;
  }

  get fid() {
    return this.credentials.fcm.installation.fid;
  }

  /** What it says at its next login to have received. */
  get persistentIds() {
    return this.#client.persistentIds;
  }

  next(what = 'a message') {
    return this.#arrivals.next(what);
  }

  take(count, what = 'messages') {
    return this.#arrivals.take(count, what);
  }

  /** A test that failed leaves nothing to the next. */
  forget() {
    this.#arrivals = new Arrivals();
  }

  stop() {
    this.#client.destroy();
  }
}

async function main([project]) {
  const receiver = await Receiver.start({ demo, other }[project]);
  const tell = (value) => process.stdout.write(`${JSON.stringify(value)}\n`);
  tell({ token: receiver.token, fid: receiver.fid });
  process.stdin.resume().on('end', () => process.exit(0));
  for (;;) tell(await receiver.next().catch(() => ({ quiet: true })));
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) await main(process.argv.slice(2));
