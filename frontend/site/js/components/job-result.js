// A scored file: what it comes to, its customers by value at risk, and the rows that could not be scored.

import { isUnderWay } from '../api.js';
import { STATES } from '../fields.js';
import { dateAndTime, dollars, number, percent, shortDollars } from '../format.js';
import { html } from '../html.js';
import { t, tn, word } from '../language.js';
import { adviceWords } from './result-card.js';
import { byServer, empty } from './states.js';
import { tierBadge, tierWord } from './tier.js';

const TIERS = ['High', 'Medium', 'Low'];

/** @param {{customers: number, failed: number, value_at_risk: number, tiers: object}} summary */
export function summaryTiles({ customers, failed, value_at_risk: atRisk, tiers }) {
  const share = (count) => (customers ? percent(count / customers) : percent(0));
  return html`<dl class="tiles">
    <div><dt>${t('job.scored')}</dt><dd>${number(customers)}
      <span class="quiet">${failed > 0 ? tn('job.failed-rows', failed) : t('job.none-failed')}</span></dd></div>
    <div><dt>${t('result.at-risk')}</dt><dd>${shortDollars(atRisk)}<span class="quiet">${dollars(atRisk)}</span></dd></div>
    ${TIERS.map((tier) => {
      const group = tiers[tier] ?? { customers: 0, value_at_risk: 0 };
      return html`<div><dt>${tierBadge(tier)}</dt><dd>${number(group.customers)}
        <span class="quiet">${t('job.tier-share', {
          share: share(group.customers), value: shortDollars(group.value_at_risk),
        })}</span></dd></div>`;
    })}</dl>`;
}

/** When it was scored, and by what; where no row could be, nobody answered. */
function made({ finished_at: finishedAt, models: versionsOf, policy_version: policy }) {
  const at = dateAndTime(finishedAt);
  const models = Object.entries(versionsOf).filter(([, versions]) => versions.length > 0)
    .map(([model, versions]) => `${model} ${versions.join(', ')}`).join(', ');
  return models && policy ? t('job.made', { at, models, policy }) : t('job.made-by-nobody', { at });
}

/**
 * What it is, and who answered.
 * @param {import('../api.js').Job} job @param {string|undefined} name of its file, where this browser sent it
 * @param {string} another address of the view without it
 */
export function resultHead(job, name, another) {
  return html`<div class="result-head"><div><h2 id="job-heading" tabindex="-1">${name ?? t('job-state.succeeded')}</h2>
    <p class="quiet">${made(job)}</p></div>
    <div class="actions">
      <a href="v1/jobs/${job.id}/result" download role="button" class="secondary outline">${t('job.whole')}</a>
      ${removeButton(job.id)}<a href="${another}" role="button">${t('job.other-file')}</a></div></div>`;
}

/** @param {string} id of a job that has ended */
export function removeButton(id) {
  return html`<button type="button" class="secondary outline" data-remove="${id}">${t('job.remove')}</button>`;
}

/** The rows that could not be scored, to be opened; open where there are no others. @param {{customers: number, failed: number}} summary */
export function faultList({ customers, failed }) {
  return failed > 0 && html`<details class="more faults" ${customers === 0 && html`open`}><summary><span class="badge tone-medium">
    <span aria-hidden="true">◆</span> ${t('job.faults')} (${number(failed)})</span></summary>
    <div class="fault-rows"></div></details>`;
}

/** What stands in the place of the customers where there are none. @param {{failed: number}} summary */
export function noCustomers({ failed }) {
  const key = failed > 0 ? 'job.none-scored' : 'job.no-customers';
  return empty({ title: t(key), text: t(`${key}-text`) });
}

function filter(name, value, options) {
  return html`<div><label for="filter-${name}">${t(`filter.${name}`)}</label>
    <select id="filter-${name}" name="${name}"><option value="">${t('filter.all')}</option>${options.map(
      ([key, text]) => html`<option value="${key}" ${key === value && html`selected`}>${text}</option>`,
    )}</select></div>`;
}

/** What can be filtered by: the values of each, and the words for one. */
const FILTERS = {
  tier: { values: TIERS, wordFor: tierWord },
  state: { values: STATES, wordFor: (state) => state },
  plan: { values: ['yes', 'no'], wordFor: (each) => t(`form.${each}`) },
};

/** The filters that an address names, without what there is not. @param {URLSearchParams} wanted @returns {Record<string, string>} */
export function filtersIn(wanted) {
  const known = Object.entries(FILTERS).filter(([name, { values }]) => values.includes(wanted.get(name)));
  return Object.fromEntries(known.map(([name]) => [name, wanted.get(name)]));
}

/** @param {Record<string, string>} filters */
export function filterForm(filters) {
  return html`<form class="filters">
    ${Object.entries(FILTERS).map(([name, { values, wordFor }]) =>
      filter(name, filters[name], values.map((value) => [value, wordFor(value)])))}
    <button type="button" class="secondary outline" data-action="export">${t('job.export')}</button>
    <span class="quiet" role="status" data-told></span></form>`;
}

function customerRow(row, rank) {
  const { customer } = row;
  return html`<tr><td class="figure">${number(rank)}</td>
    <th scope="row">${customer.customerId || t('job.row', { row: number(row.row) })}</th>
    <td>${tierBadge(row.churn_risk)}</td><td class="figure"><strong>${dollars(row.value_at_risk)}</strong></td>
    <td class="figure">${percent(row.churn_probability)}</td><td class="figure">${dollars(row.estimated_clv)}</td>
    <td>${adviceWords(row.recommendation).codeWord}</td>
    <td>${customer.state}</td><td>${word('form', customer.internationalPlan?.toLowerCase())}</td></tr>`;
}

function pager(name, { offset, limit, total }) {
  const last = Math.max(0, Math.floor((total - 1) / limit) * limit);
  const step = (key, to, isThere) => html`<button type="button" class="secondary outline" data-${name}="${to}"
    data-step="${key}" ${!isThere && html`disabled`} aria-label="${t(`pager.${key}`)}" title="${t(`pager.${key}`)}">
    <span aria-hidden="true">${t(`pager.${key}-sign`)}</span></button>`;
  return html`<nav class="pager" aria-label="${t(`pager.${name}`)}">
    ${step('first', 0, offset > 0)}${step('previous', Math.max(0, offset - limit), offset > 0)}
    <span class="quiet">${total === 0 ? t('pager.nothing')
      : t('pager.range', { from: number(offset + 1), to: number(Math.min(offset + limit, total)), total: number(total) })}</span>
    ${step('next', offset + limit, offset + limit < total)}${step('last', last, offset + limit < total)}</nav>`;
}

/** @param {{rows: object[], total: number}} page @param {{offset: number, limit: number}} at */
export function customerTable({ rows, total }, { offset, limit }) {
  if (total === 0) {
    return html`<div class="state empty"><p>${t('job.no-rows')}</p>
      <button type="button" class="secondary outline" data-action="unfilter">${t('job.unfilter')}</button></div>`;
  }
  const head = (key, isFigure) => html`<th scope="col" ${isFigure && html`class="figure"`}>${t(key)}</th>`;
  return html`<div class="wide" tabindex="0" role="region" aria-label="${t('job.customers')}"><table class="customers-table">
    <caption class="visually-hidden">${t('job.customers')}</caption>
    <thead><tr>${head('job.rank', true)}${head('job.customer')}${head('job.tier')}
      <th scope="col" class="figure" aria-sort="descending">${t('result.at-risk')} <span aria-hidden="true">↓</span></th>
      ${head('result.probability', true)}${head('result.clv', true)}${head('result.advice')}
      ${head('field.state')}${head('filter.plan')}</tr></thead>
    <tbody>${rows.map((row, index) => customerRow(row, offset + index + 1))}</tbody></table></div>
    ${pager('rows', { offset, limit, total })}${adviceLegend(rows)}`;
}

/** What the words of advice in these rows stand for. */
function adviceLegend(rows) {
  const words = new Map(rows.map(({ recommendation }) => adviceWords(recommendation)).map((each) => [each.codeWord, each]));
  return html`<details class="more"><summary>${t('job.legend')}</summary><dl class="legend">${[...words.values()].map(
    ({ codeWord, text, isByServer }) => html`<dt>${codeWord}</dt><dd>${byServer(text, isByServer)}</dd>`,
  )}</dl></details>`;
}

/**
 * @param {{errors: Array<{line: number, field: string, reason: string}>, total: number}} page
 * @param {{offset: number, limit: number}} at
 */
export function errorTable({ errors, total }, { offset, limit }) {
  const name = (field) => (field ? word('field', field) : t('job.whole-row'));
  return html`<div class="wide" tabindex="0" role="region" aria-label="${t('job.faults')}"><table>
    <caption class="visually-hidden">${t('job.faults')}</caption>
    <thead><tr><th scope="col" class="figure">${t('job.line')}</th><th scope="col">${t('job.field')}</th>
      <th scope="col">${t('job.reason')}</th></tr></thead>
    <tbody>${errors.map(({ line, field, reason }) => html`<tr><td class="figure">${number(line)}</td><td>${name(field)}</td>
      <td>${byServer(reason)}</td></tr>`)}</tbody></table></div>${total > limit && pager('faults', { offset, limit, total })}`;
}

/**
 * Earlier files, to come back to.
 * @param {import('../api.js').Job[]} jobs @param {(id: string) => string} addressOf
 * @param {(id: string) => string|undefined} nameOf
 */
export function jobList(jobs, addressOf, nameOf) {
  return html`<h2>${t('job.earlier')}</h2><ul class="job-list">${jobs.map((job) => html`<li>
    <a href="${addressOf(job.id)}">${nameOf(job.id) ?? dateAndTime(job.created_at)}</a>
    <span class="quiet">${nameOf(job.id) && dateAndTime(job.created_at)}</span>
    <span>${word('job-state', job.state)}</span>
    <span class="quiet figure">${tn('job.rows', job.rows_done)}</span>
    ${isUnderWay(job) ? html`<span></span>` : removeButton(job.id)}</li>`)}</ul>`;
}
