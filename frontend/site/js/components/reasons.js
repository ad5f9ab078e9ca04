// Why a model says what it says: each group of fields with its share, as a table whose rows have a bar.

import { signed, signedDollars } from '../format.js';
import { html } from '../html.js';
import { t, word } from '../language.js';

/** The two things that reasons are about: how a share is written, and from where on it is worth a word. */
const KINDS = {
  churn: { amount: (value) => signed(100 * value), least: 0.0005 },
  clv: { amount: signedDollars, least: 0.5 },
};

/** Whether a reason is worth a word. */
export const matters = (kind, { contribution }) => Math.abs(contribution) >= KINDS[kind].least;

/**
 * A reason in words: the API's own in English, where it also names the customer's values.
 * @param {'churn'|'clv'} kind @param {{group: string, contribution: number, phrase: string}} reason
 */
export function phrase(kind, { group, contribution, phrase: text }) {
  return t(`reasons.${kind}-${contribution > 0 ? 'raises' : 'lowers'}`, { phrase: text, group: word('group', group) });
}

function bar(contribution, largest) {
  const width = largest === 0 ? 0 : (48 * Math.abs(contribution)) / largest;
  return html`<svg class="bar ${contribution > 0 ? 'is-more' : 'is-less'}" aria-hidden="true">
    <line x1="50%" x2="50%" y1="0" y2="100%"/>
    <rect x="${(contribution > 0 ? 50 : 50 - width).toFixed(2)}%" y="15%" width="${width.toFixed(2)}%" height="70%" rx="2"/></svg>`;
}

/**
 * @param {'churn'|'clv'} kind what they are about
 * @param {{baseline: number, contributions: Array<{group: string, contribution: number, phrase: string}>}} reasons
 * @param {(value: number) => string} figure how the baseline is written
 */
export function reasonsTable(kind, { baseline, contributions }, figure) {
  const largest = Math.max(...contributions.map((each) => Math.abs(each.contribution)), 0);
  // Beside a reason of 50 points, one of half a point is none.
  const isRow = (each) => matters(kind, each) && Math.abs(each.contribution) >= largest / 100;
  const large = contributions.filter(isRow);
  const rest = contributions.filter((each) => !isRow(each)).map(({ group }) => word('group', group)).join(', ');
  return html`<table class="reasons reasons-${kind}">
    <caption class="quiet">${t(`reasons.${kind}-caption`, { baseline: figure(baseline) })}</caption>
    <thead><tr><th scope="col">${t('reasons.reason')}</th>
      <th scope="col" class="bar-cell"><span class="visually-hidden">${t('reasons.bar')}</span></th>
      <th scope="col" class="figure">${t(`reasons.${kind}-share`)}</th></tr></thead>
    <tbody>${large.map((each) => html`<tr><th scope="row">${phrase(kind, each)}</th>
      <td class="bar-cell">${bar(each.contribution, largest)}</td>
      <td class="figure">${KINDS[kind].amount(each.contribution)}</td></tr>`)}
      ${rest && html`<tr class="rest"><th scope="row" colspan="2">${t(`reasons.${kind}-rest`, { groups: rest })}</th>
        <td class="figure">≈ ${KINDS[kind].amount(0)}</td></tr>`}</tbody></table>`;
}
