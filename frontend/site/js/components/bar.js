// A bar beside a figure: it repeats the figure, so readers of the text miss nothing.

import { html } from '../html.js';

/** @param {number} share of the bar that is filled, from 0 to 1 @param {string} [tone] a class that colours it */
export function bar(share, tone = '') {
  const width = 100 * Math.min(Math.max(share, 0), 1);
  return html`<svg class="share-bar ${tone}" viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true" focusable="false">
    <rect class="bar-track" width="100" height="8"></rect><rect class="bar-fill" width="${width.toFixed(2)}" height="8"></rect></svg>`;
}
