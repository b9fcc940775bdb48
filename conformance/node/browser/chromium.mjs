// Debian's Chromium with a profile and a home of its own, which can be closed and opened again.

import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chromium } from 'playwright-core';

const EXECUTABLE = process.env.CONFORMANCE_CHROMIUM ?? '/usr/bin/chromium';

const SWITCHES = [
  '--no-sandbox', // tests run as root
  '--disable-gpu',
  '--disable-quic',
];

/** What playwright switches off, and push messaging needs. */
const WANTED = ['--disable-background-networking'];

export class Browser {
  #home = mkdtempSync(join(tmpdir(), 'cresset-chromium-'));
  #context;
  /** What its pages and workers said, for a test that failed. */
  log = [];

  constructor(authority) {
    trust(this.#home, authority);
  }

  async open(origin) {
    this.#context = await chromium.launchPersistentContext(join(this.#home, 'profile'), {
      executablePath: EXECUTABLE,
      headless: true,
      args: SWITCHES,
      ignoreDefaultArgs: WANTED,
      env: { ...process.env, HOME: this.#home },
    });
    this.#context.on('console', (message) => this.log.push(`${message.type()}: ${message.text()}`));
    this.#context.on('weberror', (error) => this.log.push(`error: ${error.error()}`));
    this.#context.on('requestfailed', (request) =>
      this.log.push(`failed: ${request.url()}: ${request.failure()?.errorText}`),
    );
    await this.#context.grantPermissions(['notifications'], { origin });
    return this.#context.pages()[0] ?? (await this.#context.newPage());
  }

  async close() {
    await this.#context?.close();
    this.#context = undefined;
  }

  async remove() {
    await this.close();
    rmSync(this.#home, { recursive: true, force: true });
  }
}

/** Chromium on Linux reads private authorities from the NSS database of its home. */
function trust(home, authority) {
  const database = join(home, '.pki', 'nssdb');
  mkdirSync(database, { recursive: true });
  const certutil = (...args) => execFileSync('certutil', ['-d', `sql:${database}`, ...args]);
  certutil('-N', '--empty-password');
  certutil('-A', '-t', 'C,,', '-n', 'the server under test', '-i', authority);
}
