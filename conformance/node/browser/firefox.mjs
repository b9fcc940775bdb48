// Debian's Firefox with a profile of its own, pointed at our push service by its preferences, and driven by
// Marionette, which it speaks itself: lines of JSON with their length before them.

import { execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { within } from '../support/waiting.mjs';

const EXECUTABLE = process.env.CONFORMANCE_FIREFOX ?? '/usr/bin/firefox-esr';

/** Whether it is there. */
export const INSTALLED = existsSync(EXECUTABLE);

const PORT = 2_828;

const PREFERENCES = {
  'dom.push.serverURL': 'wss://localhost:8443/',
  'dom.push.connection.enabled': true,
  'dom.push.testing.ignorePermission': true,
  'dom.push.loglevel': 'debug',
  'permissions.default.desktop-notification': 1,
  'marionette.port': PORT,
  // It is alone in its network.
  'network.captive-portal-service.enabled': false,
  'network.connectivity-service.enabled': false,
  'network.manage-offline-status': false,
  // Our authority signs for names whose keys it knows.
  'security.cert_pinning.enforcement_level': 0,
  'network.stricttransportsecurity.preloadlist': false,
  'app.update.enabled': false,
  'datareporting.policy.dataSubmissionEnabled': false,
  'browser.shell.checkDefaultBrowser': false,
  'devtools.console.stdout.content': true,
};

export class Firefox {
  #profile = mkdtempSync(join(tmpdir(), 'cresset-firefox-'));
  #process;
  #socket;
  #asked = new Map();
  #next = 1;
  #unread = Buffer.alloc(0);
  log = [];

  constructor(authority) {
    const certutil = (...args) => execFileSync('certutil', ['-d', `sql:${this.#profile}`, ...args]);
    certutil('-N', '--empty-password');
    certutil('-A', '-t', 'C,,', '-n', 'the server under test', '-i', authority);
    const line = ([name, value]) => `user_pref(${JSON.stringify(name)}, ${JSON.stringify(value)});`;
    writeFileSync(join(this.#profile, 'user.js'), Object.entries(PREFERENCES).map(line).join('\n'));
  }

  async open() {
    const args = ['--headless', '--no-remote', '--marionette', '--profile', this.#profile, 'about:blank'];
    const env = { ...process.env, HOME: this.#profile, MOZ_REMOTE_SETTINGS_DEVTOOLS: '1' };
    this.#process = spawn(EXECUTABLE, args, { env, stdio: ['ignore', 'pipe', 'pipe'] });
    for (const stream of [this.#process.stdout, this.#process.stderr]) {
      stream.on('data', (data) => this.log.push(...data.toString().split('\n').filter(Boolean)));
    }
    await within(this.#connect(), 'Marionette', 60_000);
    await this.#ask('WebDriver:NewSession', {
      capabilities: { alwaysMatch: { timeouts: { script: 60_000, pageLoad: 60_000 } } },
    });
  }

  goto(url) {
    return this.#ask('WebDriver:Navigate', { url });
  }

  /** What a function of the page's `app` gives. */
  async inPage(name, ...args) {
    const script = `
      const [name, args, done] = arguments;
      globalThis.app[name](...args).then((value) => done({ value }), (error) => done({ error: String(error) }));`;
    const { value } = await within(
      this.#ask('WebDriver:ExecuteAsyncScript', { script, args: [name, args] }),
      `${name} in the page`,
      60_000,
    );
    if (value.error) throw new Error(value.error);
    return value.value;
  }

  /** Ends it as a user does: it keeps what it has in its profile. */
  async close() {
    const ended = new Promise((resolve) => this.#process.on('exit', resolve));
    await this.#ask('Marionette:Quit', { flags: ['eForceQuit'] });
    await within(ended, 'the end of Firefox');
    this.#socket.destroy();
    this.#process = undefined;
  }

  async remove() {
    this.#socket?.destroy();
    if (this.#process) {
      const ended = new Promise((resolve) => this.#process.on('exit', resolve));
      this.#process.kill('SIGKILL');
      await ended;
    }
    rmSync(this.#profile, { recursive: true, force: true });
  }

  /** It greets, once it listens. */
  async #connect() {
    for (;;) {
      const greeted = await new Promise((resolve) => {
        this.#socket = connect(PORT, '127.0.0.1');
        this.#socket.once('data', () => resolve(true));
        this.#socket.once('error', () => resolve(false));
      });
      if (greeted) break;
      await pause(100);
    }
    this.#socket.on('data', (data) => this.#read(data));
    this.#socket.on('error', () => {});
  }

  #read(data) {
    this.#unread = Buffer.concat([this.#unread, data]);
    for (;;) {
      const colon = this.#unread.indexOf(':');
      const length = Number(this.#unread.subarray(0, Math.max(colon, 0)));
      if (colon < 0 || this.#unread.length < colon + 1 + length) return;
      const text = this.#unread.subarray(colon + 1, colon + 1 + length).toString();
      this.#unread = this.#unread.subarray(colon + 1 + length);
      const [, id, error, result] = JSON.parse(text);
      const { resolve, reject } = this.#asked.get(id);
      this.#asked.delete(id);
      if (error) reject(new Error(`${error.error}: ${error.message}`));
      else resolve(result);
    }
  }

  #ask(command, parameters = {}) {
    const id = this.#next++;
    const text = JSON.stringify([0, id, command, parameters]);
    this.#socket.write(`${Buffer.byteLength(text)}:${text}`);
    return new Promise((resolve, reject) => this.#asked.set(id, { resolve, reject }));
  }
}
