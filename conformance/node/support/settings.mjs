// What the tests are told about the server under test, by the environment.

/** What initializeApp() of a client SDK takes, for the project that `cresset exec` gives the account of. */
export const demo = webConfig('CONFORMANCE_WEB_CONFIG');

/** Of the Android app that each project has. */
export const PACKAGE = 'com.example.demo';

/** The same for a project whose devices that account must not reach. */
export const other = webConfig('CONFORMANCE_OTHER_WEB_CONFIG');

/** What app servers of old send with. */
export const SERVER_KEY = process.env.CONFORMANCE_SERVER_KEY;

/** How many sends a project has in a minute, where there are quotas. */
export const PROJECT_PER_MINUTE = Number(process.env.CONFORMANCE_PROJECT_PER_MINUTE);

/** A file that fills the server's disk, where that may be done. */
export const FILLER = process.env.CONFORMANCE_FILLER;

/** A token of the right shape that this server never gave out: the one in the Admin SDKs' own tests. */
export const STRANGE_TOKEN =
  'fGw0qy4TGgk:APA91bGtWGjuhp4WRhHXgbabIYp1jxEKI08ofj_v1bKhWAGJQ4e3arRCWzeTfHaLz83mBnDh0a' +
  'PWB1AykXAVUUGl2h1wT4XI6XazWpvY7RBUSYfoxtqSWGIm2nvWh2BOP1YG501SsRoE';

function webConfig(variable) {
  const text = process.env[variable];
  if (!text) throw new Error(`${variable} is not set; run the tests with \`cargo xtask conformance\``);
  return JSON.parse(text);
}
