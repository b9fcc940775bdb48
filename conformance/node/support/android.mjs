// An Android app's registration: the two requests that every Android stack makes. The device never
// connects. As a program it serves tests in other languages: it prints the token.

import { pathToFileURL } from 'node:url';
import { PACKAGE, demo } from './settings.mjs';

const HOST = 'https://android.clients.google.com';
// AndroidCheckinRequest: an empty checkin (field 4), version 3 (field 14).
const CHECK_IN = Uint8Array.of(0x22, 0, 0x70, 3);
// AndroidCheckinResponse: both fixed64.
const ANDROID_ID = 7;
const SECURITY_TOKEN = 8;

export async function androidToken({ messagingSenderId }) {
  const { id, securityToken } = await checkIn();
  const form = {
    device: `${id}`,
    app: PACKAGE,
    sender: messagingSenderId,
    'X-subtype': messagingSenderId,
    'X-scope': '*',
  };
  const answer = await fetch(`${HOST}/c2dm/register3`, {
    method: 'POST',
    headers: { authorization: `AidLogin ${id}:${securityToken}` },
    body: new URLSearchParams(form),
  });
  const text = await answer.text();
  if (!text.startsWith('token=')) throw new Error(`register3: ${answer.status} ${text}`);
  return text.slice('token='.length).trim();
}

async function checkIn() {
  const headers = { 'content-type': 'application/x-protobuffer' };
  const answer = await fetch(`${HOST}/checkin`, { method: 'POST', headers, body: CHECK_IN });
  if (!answer.ok) throw new Error(`checkin: ${answer.status}`);
  const fields = fixed64(Buffer.from(await answer.arrayBuffer()));
  return { id: fields[ANDROID_ID], securityToken: fields[SECURITY_TOKEN] };
}

/** The fixed64 fields of a protobuf message, by their number. */
function fixed64(bytes) {
  const fields = {};
  let at = 0;
  const varint = () => {
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
      const byte = BigInt(bytes[at++]);
      value |= (byte & 0x7fn) << shift;
      if (byte < 0x80n) return value;
    }
  };
  while (at < bytes.length) {
    const tag = Number(varint());
    const [field, kind] = [tag >> 3, tag & 7];
    if (kind === 0) varint();
    else if (kind === 2) at += Number(varint());
    else if (kind === 5) at += 4;
    else {
      fields[field] = bytes.readBigUInt64LE(at);
      at += 8;
    }
  }
  return fields;
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) console.log(await androidToken(demo));
