// The page under test: an app as the Firebase documentation has it, and a subscription of the page's own.
// Bundled for the browser.

import { initializeApp } from 'firebase/app';
import { deleteToken, getMessaging, getToken, onMessage } from 'firebase/messaging';

const messaging = getMessaging(initializeApp(WEB_CONFIG));
const report = (path, body) => fetch(path, { method: 'POST', body: JSON.stringify(body) });

onMessage(messaging, (payload) => report('/foreground', payload));

/** Of the worker whose pushes are the page's own affair. */
async function own() {
  const registration = await navigator.serviceWorker.register('/own.js', { scope: '/own/' });
  const worker = registration.active ?? registration.installing ?? registration.waiting;
  if (worker.state !== 'activated') {
    await new Promise((resolve) =>
      worker.addEventListener('statechange', () => worker.state === 'activated' && resolve()),
    );
  }
  return registration.pushManager;
}

globalThis.app = {
  askPermission: () => Notification.requestPermission(),
  getToken: (vapidKey) => getToken(messaging, vapidKey ? { vapidKey } : undefined),
  deleteToken: () => deleteToken(messaging),
  subscribe: async (applicationServerKey) => {
    const manager = await own();
    const subscription = await manager.subscribe({ userVisibleOnly: true, applicationServerKey });
    return subscription.toJSON();
  },
  unsubscribe: async () => {
    const manager = await own();
    const subscription = await manager.getSubscription();
    return subscription.unsubscribe();
  },
};
