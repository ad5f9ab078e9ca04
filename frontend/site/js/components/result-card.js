// The answer for one customer, or why there is none.

import { dollars, percent, splitAdvice } from '../format.js';
import { html } from '../html.js';
import { probabilityScale } from './probability-scale.js';

// Word, colour and shape say the same, so none of them is needed to tell the tiers apart.
const TIERS = {
  High: { tone: 'tone-high', shape: '▲' },
  Medium: { tone: 'tone-medium', shape: '◆' },
  Low: { tone: 'tone-low', shape: '●' },
};
const MISSING = { churn: 'The churn model', clv: 'The lifetime-value model' };
const VARIANTS = { usage: 'with usage', eleven: 'from the eleven fields' };

const heading = (text) => html`<h2 id="result-heading" tabindex="-1">${text}</h2>`;

function tierBadge(risk) {
  const { tone, shape } = TIERS[risk] ?? { tone: 'tone-wait', shape: '○' };
  return html`<span class="badge ${tone}"><span aria-hidden="true">${shape}</span> ${risk ? `${risk} risk` : 'Risk not known'}</span>`;
}

function answeredBy({ churn, clv }) {
  return [churn, clv]
    .filter(Boolean)
    .map((model) => `${model.name} version ${model.version}, ${VARIANTS[model.variant] ?? model.variant}`)
    .join('; ');
}

/** @param {string[]} missing names of models that did not answer */
function degraded(missing) {
  return missing.length > 0 && html`<div class="notice tone-medium" role="alert"><p>
    ${missing.map((name) => MISSING[name] ?? name).join(' and ')} cannot answer right now: what depends on it is left open.
    Ask again in a few seconds.</p></div>`;
}

/** @param {{prediction: object, missing: string[], storedAs: string|null}} answer */
export function answerCard({ prediction, missing, storedAs }) {
  const { codeWord, text } = splitAdvice(prediction.recommendation);
  const tone = TIERS[prediction.churn_risk]?.tone ?? 'tone-wait';
  return html`${heading('Answer')}
    <p class="quiet stale-note">The form has changed since. Predict again for a new answer.</p>
    <div class="answer">
      ${degraded(missing)}
      <div class="tier">${tierBadge(prediction.churn_risk)}
        ${prediction.confidence && html`<span class="quiet">Confidence in the tier: <strong>${prediction.confidence}</strong></span>`}
      </div>
      ${prediction.churn_probability !== null && probabilityScale(prediction.churn_probability, prediction.policy)}
      <dl class="figures">
        <div><dt>Churn probability</dt><dd>${percent(prediction.churn_probability)}</dd></div>
        <div><dt>Lifetime value</dt><dd>${dollars(prediction.estimated_clv)}</dd></div>
        <div><dt>Value at risk</dt><dd>${dollars(prediction.value_at_risk.usd)}</dd></div>
      </dl>
      <div class="notice advice ${tone}"><h3>What to do</h3><p><strong>${codeWord}</strong> ${text}</p></div>
      <p class="quiet">Answered by ${answeredBy(prediction.models)}.
        ${storedAs ? `Kept in the history as …${storedAs.slice(-8)}.` : 'Not kept: the history cannot be written right now.'}
        What these models do not know: <a href="#notes">see below</a>.</p>
    </div>`;
}

/** @param {{title: string, message: string, requestId: string}} error @param {string[]} [others] further messages */
export function errorCard(error, others = []) {
  return html`${heading(error.title)}
    <div class="notice tone-high" role="alert"><p>${error.message}</p>${others.map((message) => html`<p>${message}</p>`)}
      ${error.requestId && html`<p class="quiet">Request ${error.requestId}</p>`}</div>`;
}

/** What stands there before anything was asked. */
export function emptyCard() {
  return html`${heading('Answer')}
    <p class="quiet">Fill in the form and press Predict. Both models are asked at once: how likely the customer is to leave,
      what the customer is worth, and what to do about it.</p>`;
}

/** What stands there while the answer is on its way. */
export function busyCard() {
  return html`${heading('Answer')}<p aria-busy="true">Asking both models…</p>`;
}
