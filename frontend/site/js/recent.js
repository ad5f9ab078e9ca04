// The last customers of this browser session, to go back to. Gone with the tab, and with signing out.

import { toParams } from './fields.js';
import { forget, recall, remember } from './remembered.js';

const KEEP = 8;

/** The newest first. @returns {Array<{customer: object, prediction: object, missing: string[], storedAs: string|null, at: number}>} */
export function recentAnswers(storage = globalThis.sessionStorage) {
  try {
    const kept = JSON.parse(recall('recent', storage) ?? '[]');
    return Array.isArray(kept) ? kept : [];
  } catch {
    return [];
  }
}

/** Keep an answer; an older one about the same customer makes room for it. */
export function keepAnswer(answer, storage = globalThis.sessionStorage) {
  const same = (other) => JSON.stringify(other.customer) === JSON.stringify(answer.customer);
  const kept = [answer, ...recentAnswers(storage).filter((each) => !same(each))].slice(0, KEEP);
  remember('recent', JSON.stringify(kept), storage);
}

/** The answer of this session that an address asks for, if there is one. @param {URLSearchParams} params */
export function answerFor(params, storage = globalThis.sessionStorage) {
  const wanted = params.toString();
  return wanted === '' ? undefined : recentAnswers(storage).find(({ customer }) => toParams(customer).toString() === wanted);
}

/** For whoever sits here next. */
export function forgetAnswers(storage = globalThis.sessionStorage) {
  forget('recent', storage);
}
