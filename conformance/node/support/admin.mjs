// The firebase-admin under test: the newest, or the older one that the run says.

/** The name in package.json. */
export const SDK = process.env.CONFORMANCE_ADMIN ?? 'firebase-admin';

export const { applicationDefault, cert, deleteApp, initializeApp } = await import(`${SDK}/app`);
export const { getMessaging } = await import(`${SDK}/messaging`);
export const { SDK_VERSION } = await import(SDK).then((module) => module.default);

/** The first number of its version. */
export const MAJOR = Number(SDK_VERSION.split('.')[0]);
