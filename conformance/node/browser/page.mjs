// The page under test: an app as the Firebase documentation has it. Bundled for the browser.

import { initializeApp } from 'firebase/app';
import { deleteToken, getMessaging, getToken, onMessage } from 'firebase/messaging';

const messaging = getMessaging(initializeApp(WEB_CONFIG));
const report = (path, body) => fetch(path, { method: 'POST', body: JSON.stringify(body) });

onMessage(messaging, (payload) => report('/foreground', payload));

globalThis.app = {
  askPermission: () => Notification.requestPermission(),
  getToken: () => getToken(messaging),
  deleteToken: () => deleteToken(messaging),
};
