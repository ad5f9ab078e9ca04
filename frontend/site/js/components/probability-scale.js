// Where a probability lies between the limits of the tiers. The words beside it say the same.

import { percent } from '../format.js';
import { html } from '../html.js';
import { t } from '../language.js';

// Most customers lie below one half: the tiers get the room, as a square root.
const place = (share) => 100 * Math.sqrt(share);
// Down, in the height of a letter, so that it grows with the text.
const at = (x) => `${x.toFixed(2)}%`;

/**
 * @param {number} probability from 0 to 1
 * @param {{medium_from: number, high_from: number}} policy
 * @param {[number, number]|null} [interval] what the probability may be
 */
export function probabilityScale(probability, policy, interval = null) {
  const [medium, high] = [place(policy.medium_from), place(policy.high_from)];
  const mark = Math.min(Math.max(place(probability), 1.5), 98.5);
  const [lower, upper] = (interval ?? [0, 0]).map(place);
  const values = { probability: percent(probability), medium: percent(policy.medium_from), high: percent(policy.high_from) };
  const zone = (tone, from, to) =>
    html`<rect class="zone ${tone}" x="${at(from)}" y="1.5em" width="${at(to - from)}" height="1.33em"/>`;
  const name = (words, x) => html`<text x="${at(x)}" y="4.3em" text-anchor="middle">${words}</text>`;
  const limit = (words, x) => html`<line x1="${at(x)}" x2="${at(x)}" y1="1.15em" y2="3em"/>
    <text x="${at(x)}" y="0.85em" text-anchor="middle">${words}</text>`;
  return html`<svg class="scale" role="img" aria-label="${t('scale.label', values)}">
    ${zone('tone-low', 0, medium)}${zone('tone-medium', medium, high)}${zone('tone-high', high, 100)}
    ${interval && html`<rect class="span" x="${at(lower)}" y="2em" width="${at(upper - lower)}" height="0.33em" rx="0.17em"/>`}
    ${limit(values.medium, medium)}${limit(values.high, high)}
    <circle class="mark" cx="${at(mark)}" cy="2.17em" r="0.67em"/>
    ${name(html`● ${t('tier-short.Low')}`, medium / 2)}${name(html`◆ ${t('tier-short.Medium')}`, (medium + high) / 2)}
    ${name(html`▲ ${t('tier-short.High')}`, (high + 100) / 2)}
  </svg>`;
}
