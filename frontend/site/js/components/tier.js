// Word, colour and shape say the same, so none of them is needed to tell the tiers apart.

import { html } from '../html.js';
import { t, word } from '../language.js';

const LOOKS = {
  High: { tone: 'tone-high', shape: '▲' },
  Medium: { tone: 'tone-medium', shape: '◆' },
  Low: { tone: 'tone-low', shape: '●' },
};
const UNKNOWN = { tone: 'tone-wait', shape: '○' };

/** @param {string|null} tier as the API names it @returns {string} a class that sets its colours */
export const toneOf = (tier) => (LOOKS[tier] ?? UNKNOWN).tone;

/** @param {string|null} tier */
export const tierWord = (tier) => (tier ? word('tier', tier) : t('tier.unknown'));

/** @param {string|null} tier @param {{isShort?: boolean}} [options] short: where it is plain that a risk is meant */
export function tierBadge(tier, { isShort = false } = {}) {
  const { tone, shape } = LOOKS[tier] ?? UNKNOWN;
  return html`<span class="badge ${tone}"><span aria-hidden="true">${shape}</span> ${isShort ? word('tier-short', tier) : tierWord(tier)}</span>`;
}
