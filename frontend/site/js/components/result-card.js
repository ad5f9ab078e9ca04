// The answer for one customer, or why there is none.

import { dateAndTime, dollars, percent, splitAdvice } from '../format.js';
import { html } from '../html.js';
import { has, t, word } from '../language.js';
import { customerList } from './customer-form.js';
import { probabilityScale } from './probability-scale.js';
import { matters, phrase, reasonsTable } from './reasons.js';
import { byServer, degraded, failure } from './states.js';
import { tierBadge, tierWord, toneOf } from './tier.js';

const heading = (text) => html`<h2 id="result-heading" tabindex="-1">${text}</h2>`;

const rangeOf = (interval, figure) => interval && t('result.range', { lower: figure(interval[0]), upper: figure(interval[1]) });

function figures({ churn_probability: probability, estimated_clv: clv, value_at_risk: atRisk, interval }) {
  const entry = (name, value, more) => html`<div><dt>${t(`result.${name}`)}</dt>
    <dd>${value}${more && html`<span class="quiet">${more}</span>`}</dd></div>`;
  return html`<dl class="figures">
    ${entry('probability', percent(probability), rangeOf(interval?.churn_probability, percent))}
    ${entry('clv', dollars(clv), rangeOf(interval?.estimated_clv, dollars))}
    ${entry('at-risk', dollars(atRisk?.usd), t('result.at-risk-is'))}</dl>`;
}

/**
 * The advice in the page's language: by its code word, where the catalogue has it, else the API's own.
 * @param {string} recommendation
 */
export function adviceWords(recommendation) {
  const { codeWord, text } = splitAdvice(recommendation);
  const key = `advice.${codeWord}`;
  if (!has(key)) return { codeWord, text, isByServer: true };
  return { codeWord: t(`${key}.word`), text: t(key, { text }), isByServer: false };
}

/** In a sentence: where the probability lies between the limits, and what moved it most. @param {object} prediction */
export function whySentence({ churn_risk: tier, churn_probability: probability, policy, reasons }) {
  const main = reasons?.churn?.contributions[0];
  const values = { probability: percent(probability), medium: percent(policy.medium_from), high: percent(policy.high_from) };
  const sentences = [
    has(`why.${tier}`) && t(`why.${tier}`, values),
    main && matters('churn', main) && t('why.most', { reason: phrase('churn', main) }),
  ];
  return sentences.filter(Boolean).join(' ');
}

function answeredBy({ churn, clv }) {
  return [churn, clv].filter(Boolean)
    .map(({ name, version, variant }) => t('result.model', { name, version, variant: word('variant', variant) }))
    .join('; ');
}

function reasons({ reasons: known }) {
  return html`${known?.churn && html`<details class="more" open><summary>${t('reasons.churn-title')}</summary>
      ${reasonsTable('churn', known.churn, percent)}</details>`}
    ${known?.clv && html`<details class="more"><summary>${t('reasons.clv-title')}</summary>
      ${reasonsTable('clv', known.clv, dollars)}</details>`}`;
}

/** @param {{prediction: object, missing: string[], storedAs: string|null, customer: object, at: number}} answer */
export function answerCard({ prediction, missing, storedAs, customer, at }) {
  const tier = prediction.churn_risk;
  const advice = adviceWords(prediction.recommendation);
  return html`${heading(t('result.title'))}
    <p class="quiet stale-note">${t('result.stale')}</p>
    <div class="answer ${toneOf(tier)}">
      ${degraded(missing, 'missing')}
      <div class="tier">${tierBadge(tier)}
        ${prediction.confidence && html`<span class="quiet">${t('result.confidence')}
          <strong>${word('confidence', prediction.confidence)}</strong></span>`}
      </div>
      ${prediction.churn_probability !== null &&
        html`${probabilityScale(prediction.churn_probability, prediction.policy, prediction.interval?.churn_probability)}
          <p class="why">${whySentence(prediction)}</p>`}
      ${figures(prediction)}
      <div class="notice advice"><h3>${t('result.advice')}</h3>
        <p><strong>${advice.codeWord}</strong> ${byServer(advice.text, advice.isByServer)}</p></div>
      ${reasons(prediction)}
      <div id="what-if" class="what-if"></div>
      <div class="actions">
        <button type="button" class="secondary outline" data-action="copy">${t('result.copy')}</button>
        <button type="button" class="secondary outline" data-action="print">${t('result.print')}</button>
        <span class="quiet" role="status" data-told></span>
      </div>
      <p class="quiet">${t('result.answered-by', { models: answeredBy(prediction.models), at: dateAndTime(at) })}
        ${storedAs ? t('result.kept', { id: storedAs.slice(-8) }) : t('result.not-kept')}
        <a href="#notes">${t('result.limits')}</a></p>
      <div class="print-only"><h3>${t('analyze.title')}</h3>${customerList(customer)}</div>
    </div>`;
}

/** The answer as plain text, for a note or a message. @param {{prediction: object, customer: object}} answer */
export function answerText({ prediction, customer }) {
  const advice = adviceWords(prediction.recommendation);
  const line = (name, value, range) => `${t(`result.${name}`)}: ${value}${range ? ` (${range})` : ''}`;
  return [
    customer.customerId && `${t('field.customerId')}: ${customer.customerId}`,
    tierWord(prediction.churn_risk),
    line('probability', percent(prediction.churn_probability), rangeOf(prediction.interval?.churn_probability, percent)),
    line('clv', dollars(prediction.estimated_clv), rangeOf(prediction.interval?.estimated_clv, dollars)),
    line('at-risk', dollars(prediction.value_at_risk?.usd)),
    `${advice.codeWord}: ${advice.text}`,
    prediction.churn_probability !== null && whySentence(prediction),
  ].filter(Boolean).join('\n');
}

/** @param {import('../api.js').ApiError} error @param {string[]} [others] further messages */
export function errorCard(error, others = []) {
  return html`${heading(t('result.none'))}${failure(error, {
    action: others.length > 0 && html`<ul>${others.map((message) => html`<li>${byServer(message)}</li>`)}</ul>`,
  })}`;
}

/** What stands there before anything was asked. */
export function emptyCard() {
  return html`${heading(t('result.title'))}<p class="quiet">${t('result.empty')}</p>`;
}

/** What stands there while the answer is on its way. */
export function busyCard() {
  return html`${heading(t('result.title'))}<p aria-busy="true">${t('result.busy')}</p>`;
}
