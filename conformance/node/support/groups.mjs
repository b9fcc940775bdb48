// Device groups, which no SDK makes.

import { SERVER_KEY, demo } from './settings.mjs';

/** The notification key of a new group. */
export async function createGroup(name, tokens) {
  const answer = await fetch('https://fcm.googleapis.com/fcm/notification', {
    method: 'POST',
    headers: {
      authorization: `key=${SERVER_KEY}`,
      project_id: demo.messagingSenderId,
      'content-type': 'application/json',
    },
    body: JSON.stringify({ operation: 'create', notification_key_name: name, registration_ids: tokens }),
  });
  const { notification_key: key, error } = await answer.json();
  if (!key) throw new Error(`a group: ${answer.status} ${error}`);
  return key;
}
