// What a browser keeps for the page. Storage may be forbidden or full: then nothing is kept, and nothing fails.

/** @param {string} key @param {Storage} [storage] @returns {string|null} */
export function recall(key, storage = globalThis.localStorage) {
  try {
    return storage?.getItem(`telelink.${key}`) ?? null;
  } catch {
    return null;
  }
}

/** @param {string} key @param {string} value @param {Storage} [storage] */
export function remember(key, value, storage = globalThis.localStorage) {
  try {
    storage?.setItem(`telelink.${key}`, value);
  } catch {
    // See above.
  }
}

/** @param {string} key @param {Storage} [storage] */
export function forget(key, storage = globalThis.localStorage) {
  try {
    storage?.removeItem(`telelink.${key}`);
  } catch {
    // See above.
  }
}
