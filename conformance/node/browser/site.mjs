// The web site that the browser opens: the page and its workers, bundled from the npm package, and
// addresses at which they report what arrives.

import { createServer } from 'node:http';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { Arrivals } from '../support/waiting.mjs';

/** A worker without any SDK, which tells the text of each push, and shows it as browsers ask for. */
const OWN = `
  self.addEventListener('install', () => self.skipWaiting());
  self.addEventListener('push', (event) => {
    const text = event.data ? event.data.text() : '';
    const told = fetch('/pushes', { method: 'POST', body: JSON.stringify(text) });
    event.waitUntil(Promise.all([told, self.registration.showNotification('push', { body: text })]));
  });`;

const HTML = '<!doctype html><title>Conformance</title><script src="/page.js"></script>';

export class Site {
  foreground = new Arrivals();
  background = new Arrivals();
  pushes = new Arrivals();
  #files;
  #server;

  static async start(webConfig) {
    const site = new Site();
    site.#files = new Map([
      ['/', ['text/html', HTML]],
      ['/own.js', ['text/javascript', OWN]],
      ['/page.js', ['text/javascript', await bundle('page.mjs', webConfig)]],
      ['/firebase-messaging-sw.js', ['text/javascript', await bundle('worker.mjs', webConfig)]],
    ]);
    site.#server = createServer((request, response) => site.#answer(request, response));
    await once(site.#server.listen(0, '127.0.0.1'), 'listening');
    return site;
  }

  /** Of localhost, which browsers take for secure. */
  get address() {
    return `http://localhost:${this.#server.address().port}/`;
  }

  stop() {
    this.#server.closeAllConnections();
    this.#server.close();
  }

  async #answer(request, response) {
    const all = { '/foreground': this.foreground, '/background': this.background, '/pushes': this.pushes };
    const reports = all[request.url];
    if (request.method === 'POST' && reports) {
      reports.push(JSON.parse(Buffer.concat(await request.toArray()).toString()));
      response.writeHead(204).end();
      return;
    }
    const [type, text] = this.#files.get(request.url) ?? [];
    if (text === undefined) response.writeHead(404).end();
    else response.writeHead(200, { 'content-type': type, 'cache-control': 'no-store' }).end(text);
  }
}

async function bundle(file, webConfig) {
  const { outputFiles } = await build({
    entryPoints: [fileURLToPath(new URL(file, import.meta.url))],
    bundle: true,
    write: false,
    format: 'iife',
    define: { WEB_CONFIG: JSON.stringify(webConfig) },
  });
  return outputFiles[0].text;
}
