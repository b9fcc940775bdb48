// Its service worker, which the SDK registers by itself. Bundled for the browser.

import { initializeApp } from 'firebase/app';
import { getMessaging, onBackgroundMessage } from 'firebase/messaging/sw';

// A new worker at once, so that a test need not wait for the old one to go.
self.addEventListener('install', () => self.skipWaiting());

onBackgroundMessage(getMessaging(initializeApp(WEB_CONFIG)), async (payload) => {
  // The SDK has shown its notification when it calls this.
  const shown = await self.registration.getNotifications();
  const notifications = shown.map(({ title, body, icon }) => ({ title, body, icon }));
  await fetch('/background', { method: 'POST', body: JSON.stringify({ payload, notifications }) });
});
