// A push service of ours that plays somebody else's (e2e/src/fake), for senders that others wrote.

import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';

export class Fake {
  #process;
  #lines;

  /** As on the command line: `web-push google`, `apns`. */
  static async start(...args) {
    const fake = new Fake();
    fake.#process = spawn(process.env.CONFORMANCE_FAKE, args, { stdio: ['pipe', 'pipe', 'inherit'] });
    fake.#lines = createInterface(fake.#process.stdout)[Symbol.asyncIterator]();
    Object.assign(fake, await fake.#read());
    return fake;
  }

  /** A command, and its answer. */
  async do(command, fields = {}) {
    this.#process.stdin.write(`${JSON.stringify({ do: command, ...fields })}\n`);
    return this.#read();
  }

  stop() {
    this.#process.stdin.end();
  }

  async #read() {
    const { value, done } = await this.#lines.next();
    if (done) throw new Error('the fake has ended');
    return JSON.parse(value);
  }
}
