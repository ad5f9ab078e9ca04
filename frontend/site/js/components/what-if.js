// What would become of the customer who was just asked about: sliders to try, and the smallest changes that would help.
// Nothing of it is stored: a customer who does not exist belongs in no figure.

import { ApiError, whatIf } from '../api.js';
import { FIELDS, label } from '../fields.js';
import { dollars, number, percent, signed, signedDollars } from '../format.js';
import { draw, html } from '../html.js';
import { t } from '../language.js';
import { byServer } from './states.js';
import { tierBadge } from './tier.js';

const WAIT_MS = 250;
// How far a slider reaches; a customer beyond it takes it along.
const REACH = {
  customerServiceCalls: 10, totalIntlCalls: 20, totalDayMinutes: 400, totalEveMinutes: 400, totalNightMinutes: 400,
  totalIntlMinutes: 30,
};
const PLANS = ['internationalPlan', 'voiceMailPlan'];
// What somebody who takes up voice mail can be expected to use it for; the API's suggestions say the same.
const TYPICAL_MESSAGES = 29;

const fieldNamed = (name) => FIELDS.find((field) => field.name === name);

/**
 * The customer with these fields instead; who gives up voice mail has no messages, who takes it up some.
 * @param {object} customer @param {object} changes values by field name
 */
export function changedCustomer(customer, changes) {
  const next = { ...customer, ...changes };
  if (next.voiceMailPlan !== customer.voiceMailPlan) {
    next.numberOfVmailMessages = next.voiceMailPlan === 'yes' ? TYPICAL_MESSAGES : 0;
  }
  return next;
}

/** The changes of a suggestion as fields of the customer. @param {object} customer @param {object} changes as the API names them */
export function fieldsOf(customer, { billReduction, ...changes }) {
  const fields = { ...changes };
  if (billReduction !== undefined) {
    for (const name of Object.keys(REACH).filter((each) => each.endsWith('Minutes') && customer[each] !== undefined)) {
      fields[name] = Math.round(customer[name] * (1 - billReduction) * 10) / 10;
    }
  }
  return fields;
}

/** @param {object} changes as the API names them */
function words({ internationalPlan, voiceMailPlan, customerServiceCalls, billReduction }) {
  const parts = [
    internationalPlan && t(`change.internationalPlan-${internationalPlan}`),
    voiceMailPlan && t(`change.voiceMailPlan-${voiceMailPlan}`),
    customerServiceCalls !== undefined && t('change.customerServiceCalls', { calls: number(customerServiceCalls) }),
    billReduction !== undefined && t('change.billReduction', { share: percent(billReduction) }),
  ].filter(Boolean);
  const sentence = parts.join(t('change.and'));
  return sentence.charAt(0).toUpperCase() + sentence.slice(1);
}

function plan(name, value) {
  return html`<label class="switch"><input type="checkbox" role="switch" name="${name}" ${value === 'yes' && html`checked`}>
    ${label(fieldNamed(name))}</label>`;
}

function slider(name, value) {
  const max = Math.max(REACH[name], Math.ceil(value));
  const id = `what-if-${name}`;
  return html`<div class="slider"><label for="${id}">${label(fieldNamed(name))}</label>
    <output for="${id}" data-value="${name}">${number(value)}</output>
    <input type="range" id="${id}" name="${name}" min="0" max="${max}" step="${Number.isInteger(value) ? 1 : 0.1}"
      value="${value}"></div>`;
}

function suggestion({ changes, prediction }, index) {
  return html`<li><span>${words(changes)}</span>
    <span class="suggestion-result">${tierBadge(prediction.churn_risk)} ${percent(prediction.churn_probability)}</span>
    <button type="button" class="secondary outline" data-suggestion="${index}">${t('what-if.try')}</button></li>`;
}

function comparison(before, now) {
  const row = (name, was, is, difference) => html`<tr><th scope="row">${t(`result.${name}`)}</th><td class="figure">${was}</td>
    <td class="figure">${is}</td><td class="figure">${difference}</td></tr>`;
  const [p, q] = [before.churn_probability, now.churn_probability];
  const [v, w] = [before.estimated_clv, now.estimated_clv];
  const points = p !== null && q !== null && t('what-if.points', { points: signed(100 * (q - p)) });
  const money = v !== null && w !== null && signedDollars(w - v);
  return html`<p class="what-if-tier">${tierBadge(before.churn_risk)} <span aria-hidden="true">→</span>
      <span class="visually-hidden">${t('what-if.becomes')}</span> ${tierBadge(now.churn_risk)}</p>
    <table><thead><tr><td></td><th scope="col" class="figure">${t('what-if.now')}</th>
      <th scope="col" class="figure">${t('what-if.then')}</th>
      <th scope="col" class="figure">${t('what-if.difference')}</th></tr></thead>
      <tbody>${row('probability', percent(p), percent(q), points)}${row('clv', dollars(v), dollars(w), money)}</tbody></table>`;
}

/**
 * @param {HTMLElement} element to draw into
 * @param {{customer: object, prediction: object}} answer
 * @param {AbortSignal} signal ends with the answer
 */
export function startWhatIf(element, { customer, prediction }, signal) {
  if (prediction.churn_probability === null) return;
  const sliders = Object.keys(REACH).filter((name) => customer[name] !== undefined);
  draw(
    element,
    html`<details class="more"><summary>${t('what-if.title')}</summary>
      <div class="suggestions"></div>
      <form class="trials"><p class="quiet">${t('what-if.text')}</p>
        <div class="switches">${PLANS.map((name) => plan(name, customer[name]))}</div>
        <div class="sliders">${sliders.map((name) => slider(name, customer[name]))}</div>
        <div class="trial-result" role="status"></div>
        <button type="reset" class="secondary outline" hidden>${t('what-if.back')}</button>
      </form></details>`,
  );
  const [form, told, suggestions] = ['form', '.trial-result', '.suggestions'].map((each) => element.querySelector(each));
  const back = form.querySelector('[type="reset"]');
  // A slider stands at the nearest of its steps, which is not always what the customer has.
  const asIs = Object.fromEntries(sliders.map((name) => [name, form.elements[name].value]));
  let timer;
  let asking = new AbortController();
  let offered = [];

  function fieldsTried() {
    const fields = {};
    for (const name of PLANS) fields[name] = form.elements[name].checked ? 'yes' : 'no';
    for (const name of sliders) {
      const { value } = form.elements[name];
      fields[name] = value === asIs[name] ? customer[name] : Number(value);
    }
    return fields;
  }

  function showValues() {
    const tried = fieldsTried();
    for (const name of sliders) form.querySelector(`[data-value="${name}"]`).textContent = number(tried[name]);
  }

  async function ask() {
    // A newer question makes the answer to an older one worthless.
    asking.abort();
    asking = new AbortController();
    const mine = AbortSignal.any([asking.signal, signal]);
    const changed = changedCustomer(customer, fieldsTried());
    const isSame = Object.keys(changed).every((name) => changed[name] === customer[name]);
    // It goes, and whoever pressed it goes on at the sliders.
    if (isSame && document.activeElement === back) form.querySelector('[type="range"]').focus();
    back.hidden = isSame;
    if (isSame) return told.replaceChildren();
    told.setAttribute('aria-busy', 'true');
    try {
      const reply = await whatIf({ customer: changed, changes: {} }, mine);
      if (!mine.aborted) draw(told, comparison(prediction, reply.prediction));
    } catch (error) {
      if (mine.aborted) return;
      if (!(error instanceof ApiError)) throw error;
      draw(told, html`<p>${byServer(error.message, error.isByServer)}</p>`);
    }
    told.removeAttribute('aria-busy');
  }

  form.addEventListener('input', () => {
    showValues();
    clearTimeout(timer);
    timer = setTimeout(ask, WAIT_MS);
  });
  form.addEventListener('submit', (event) => event.preventDefault());
  form.addEventListener('reset', () => {
    clearTimeout(timer);
    // The fields have their values back only after this event.
    setTimeout(() => {
      showValues();
      ask();
    });
  });
  suggestions.addEventListener('click', ({ target }) => {
    const button = target.closest('[data-suggestion]');
    if (!button) return;
    const fields = fieldsOf(customer, offered[Number(button.dataset.suggestion)].changes);
    for (const name of PLANS) form.elements[name].checked = (fields[name] ?? customer[name]) === 'yes';
    for (const name of sliders) form.elements[name].value = fields[name] ?? customer[name];
    showValues();
    ask();
  });
  signal.addEventListener('abort', () => clearTimeout(timer));

  async function suggest() {
    if (prediction.churn_risk === 'Low' || offered.length) return;
    draw(suggestions, html`<p class="quiet" aria-busy="true">${t('what-if.searching')}</p>`);
    try {
      offered = (await whatIf({ customer, goal: 'Low' }, signal)).trials;
      if (offered.length === 0) offered = (await whatIf({ customer, goal: 'Medium' }, signal)).trials;
      draw(suggestions, offered.length
        ? html`<h3>${t('what-if.suggestions')}</h3><ul>${offered.map(suggestion)}</ul><p class="quiet">${t('what-if.caution')}</p>`
        : html`<p class="quiet">${t('what-if.nothing')}</p>`);
    } catch (error) {
      if (signal.aborted) return;
      if (!(error instanceof ApiError)) throw error;
      draw(suggestions, html`<p class="quiet">${byServer(error.message, error.isByServer)}</p>`);
    }
  }
  // Asked for by whoever looks: it costs the models hundreds of answers.
  element.querySelector('details').addEventListener('toggle', ({ target }) => target.open && suggest());
}
