// Waiting with a bound: a test that hangs says nothing.

/** Long enough for a loaded machine; what is waited for takes milliseconds. */
export const PATIENCE = 20_000;

/** The promise, or an error that names what did not come. */
export function within(promise, what, milliseconds = PATIENCE) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what}: nothing within ${milliseconds / 1000} s`)), milliseconds);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** Things that arrive one after the other, to be waited for by whoever wants them. */
export class Arrivals {
  #waiting = [];
  #arrived = [];

  push(item) {
    const next = this.#waiting.shift();
    if (next) next(item);
    else this.#arrived.push(item);
  }

  /** The oldest that nobody has taken. */
  next(what, milliseconds = PATIENCE) {
    if (this.#arrived.length > 0) return Promise.resolve(this.#arrived.shift());
    let mine;
    const promise = new Promise((resolve) => this.#waiting.push((mine = resolve)));
    return within(promise, what, milliseconds).catch((error) => {
      this.#waiting = this.#waiting.filter((resolve) => resolve !== mine);
      throw error;
    });
  }

  async take(count, what) {
    const items = [];
    while (items.length < count) items.push(await this.next(`${what}, ${items.length} of ${count}`));
    return items;
  }
}
