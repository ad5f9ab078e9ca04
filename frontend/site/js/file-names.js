// The names of files that this browser sent: the API keeps none, and a list of times is hard to tell apart.

import { forget, recall, remember } from './remembered.js';

const KEEP = 50;

function kept(storage) {
  try {
    const names = JSON.parse(recall('files', storage) ?? '[]');
    return Array.isArray(names) ? names : [];
  } catch {
    return [];
  }
}

/** @param {string} id of a job @returns {string|undefined} */
export const fileName = (id, storage = globalThis.localStorage) => kept(storage).find((each) => each?.[0] === id)?.[1];

/** @param {string} id of a job @param {string} name of its file */
export function keepFileName(id, name, storage = globalThis.localStorage) {
  remember('files', JSON.stringify([[id, name], ...kept(storage)].slice(0, KEEP)), storage);
}

/** For whoever sits here next. */
export function forgetFileNames(storage = globalThis.localStorage) {
  forget('files', storage);
}
