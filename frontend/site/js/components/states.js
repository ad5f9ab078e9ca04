// What stands where something is not there: not yet, nothing yet, or not at all.

import { html } from '../html.js';
import { t, word } from '../language.js';

/** @param {string} [text] */
export function loading(text = t('states.loading')) {
  return html`<p class="state" role="status" aria-busy="true">${text}</p>`;
}

/**
 * Nothing there yet: says what to do first.
 * @param {{title: string, text: string, action?: import('../html.js').SafeHtml}} what
 */
export function empty({ title, text, action }) {
  return html`<div class="state empty"><h2>${title}</h2><p>${text}</p>${action}</div>`;
}

/** A text by the API itself, which speaks English. */
export const byServer = (text, isByServer = true) => (isByServer ? html`<span lang="en">${text}</span>` : html`${text}`);

/**
 * @param {{title: string, message: string, requestId?: string, isByServer?: boolean}} error
 * @param {{level?: 1|2, action?: import('../html.js').SafeHtml}} [options] level of its heading; a button to go on with
 */
export function failure(error, { level = 2, action } = {}) {
  const title = byServer(error.title, error.isByServer ?? false);
  return html`<div class="notice tone-high" role="alert">
    ${level === 1 ? html`<h1>${title}</h1>` : html`<h2>${title}</h2>`}
    <p>${byServer(error.message, error.isByServer ?? false)}</p>
    ${error.requestId && html`<p class="quiet">${t('states.request', { id: error.requestId })}</p>`}${action}</div>`;
}

/**
 * Half of what is asked for is missing; names it.
 * @param {string[]} missing `churn`, `clv`, or both
 * @param {'degraded'|'missing'} [key] as it is now, or as it was when an answer came
 */
export function degraded(missing, key = 'degraded') {
  return missing.length > 0 && html`<div class="notice tone-medium">
    ${missing.map((name) => html`<p><span aria-hidden="true">◆</span> ${word(key, name)}</p>`)}</div>`;
}
