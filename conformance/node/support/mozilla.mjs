// A browser of Mozilla's, as its push service sees it: its protocol by Node's own WebSocket, and what it is
// sent opened by http_ece.

import { createECDH, randomBytes, randomUUID } from 'node:crypto';
import { createRequire } from 'node:module';
import { Arrivals, within } from './waiting.mjs';

const ece = createRequire(import.meta.url)('http_ece');

/** Where Firefox would be pointed at: `dom.push.serverURL`. */
export const SERVER = 'wss://localhost:8443/';

export class MozillaBrowser {
  #socket;
  #said = new Arrivals();
  #notifications = new Arrivals();
  #ecdh = createECDH('prime256v1');
  #auth = randomBytes(16);
  uaid;

  constructor() {
    this.#ecdh.generateKeys();
  }

  /** Connects, and says who it is if it was connected before. */
  async connect() {
    this.#socket = new WebSocket(SERVER, 'push-notification');
    this.#socket.addEventListener('message', ({ data }) => {
      const said = JSON.parse(data);
      (said.messageType === 'notification' ? this.#notifications : this.#said).push(said);
    });
    await within(
      new Promise((resolve, reject) => {
        this.#socket.addEventListener('open', resolve);
        this.#socket.addEventListener('error', reject);
      }),
      'a WebSocket',
    );
    const uaid = this.uaid ? { uaid: this.uaid } : {};
    const told = await this.#ask({ messageType: 'hello', broadcasts: {}, use_webpush: true, ...uaid });
    if (this.uaid && told.uaid !== this.uaid) throw new Error('it was not known');
    this.uaid = told.uaid;
  }

  /** Subscribes for whoever has this key: what a page gives its application server. */
  async subscribe(key) {
    const channelID = randomUUID();
    const told = await this.#ask({ messageType: 'register', channelID, key });
    if (told.status !== 200) throw new Error(`register: ${JSON.stringify(told)}`);
    const p256dh = this.#ecdh.getPublicKey('base64url');
    return { channelID, endpoint: told.pushEndpoint, keys: { p256dh, auth: this.#auth.toString('base64url') } };
  }

  async unsubscribe({ channelID }) {
    await this.#ask({ messageType: 'unregister', channelID, code: 200 });
  }

  /** The next notification, which it acknowledges. */
  async next(what = 'a notification') {
    const told = await this.#notifications.next(what);
    this.#say({ messageType: 'ack', updates: [{ channelID: told.channelID, version: told.version, code: 100 }] });
    return told;
  }

  /** Its text; `null`: there is none. */
  text({ data, headers }) {
    if (data === undefined) return null;
    const parameters = { version: headers.encoding, privateKey: this.#ecdh, authSecret: this.#auth.toString('base64url') };
    if (headers.encoding === 'aesgcm') {
      parameters.dh = headers.crypto_key.replace('dh=', '');
      parameters.salt = headers.encryption.replace('salt=', '');
    }
    return ece.decrypt(Buffer.from(data, 'base64url'), parameters).toString();
  }

  async close() {
    const closed = new Promise((resolve) => this.#socket.addEventListener('close', resolve));
    this.#socket.close();
    await within(closed, 'the end of a WebSocket');
  }

  async #ask(question) {
    this.#say(question);
    return this.#said.next(question.messageType);
  }

  #say(what) {
    this.#socket.send(JSON.stringify(what));
  }
}
