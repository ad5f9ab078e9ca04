import assert from 'node:assert/strict';
import { test } from 'node:test';

import { answerCard, answerText } from '../../../frontend/site/js/components/result-card.js';
import { banner, serviceBadges } from '../../../frontend/site/js/components/service-badges.js';
import { EXAMPLES } from '../../../frontend/site/js/fields.js';
import { speak } from '../../../frontend/site/js/language.js';

await speak('en');
const POLICY = { medium_from: 0.15, high_from: 0.3 };
const REASONS = {
  baseline: 0.02,
  contributions: [
    { group: 'service_calls', contribution: 0.31, phrase: '5 service calls raise the risk by 31 points' },
    { group: 'tenure', contribution: -0.1, phrase: 'A tenure of 9 days lowers the risk by 10 points' },
    { group: 'place', contribution: 0.0001, phrase: 'Living in OH hardly changes the risk' },
  ],
};
const MODEL = { name: 'churn', version: '1', variant: 'usage' };

function answer(changes = {}, more = {}) {
  const prediction = {
    churn_probability: 0.4567,
    churn_risk: 'High',
    estimated_clv: 12_345.6,
    recommendation: 'HIGH PRIORITY: Assign an account manager.',
    confidence: 'Very High',
    models: { churn: MODEL, clv: { ...MODEL, name: 'clv', variant: 'eleven' } },
    policy: POLICY,
    interval: { churn_probability: [0.4, 0.5], estimated_clv: [10_000, 14_000] },
    reasons: { churn: REASONS, clv: null },
    value_at_risk: { usd: 5_638.24 },
    ...changes,
  };
  return { prediction, missing: [], storedAs: '0123456789abcdef', customer: EXAMPLES.loyal, at: 0, ...more };
}

const card = (changes, more) => answerCard(answer(changes, more)).markup;

test('the answer shows tier, probability, value, advice, confidence, versions and where it is kept', () => {
  const markup = card();
  for (const text of ['High risk', '45.7%', '$12,346', '$5,638', 'HIGH PRIORITY', 'Assign an account manager', 'Very High', 'churn version 1', '…89abcdef']) {
    assert.ok(markup.includes(text), text);
  }
});

test('a missing half is said to be missing and no figure is made up for it', () => {
  const unknown = { churn_probability: null, churn_risk: null, confidence: null, value_at_risk: { usd: null }, interval: {}, reasons: {} };
  const markup = card({ ...unknown, models: { churn: null, clv: MODEL } }, { missing: ['churn'] });
  assert.ok(markup.includes('The churn model could not answer'));
  assert.ok(markup.includes('Risk not known'));
  assert.equal((markup.match(/<dd>not known</g) ?? []).length, 2);
});

test('an answer that was not stored says so', () => {
  assert.ok(card({}, { storedAs: null }).includes('Not kept'));
});

test('a probability of zero is a figure, not a gap', () => {
  assert.ok(card({ churn_probability: 0, churn_risk: 'Low' }).includes('<dd>0%<'));
});

test('services are shown by their state, and a silent gateway as unreachable', () => {
  const service = { name: 'churn-service', state: 'not ready', model: 'churn', version: null, latency_ms: null, last_error: '<x>' };
  const markup = serviceBadges([service]).markup;
  assert.ok(markup.includes('churn-service: not ready'));
  assert.ok(markup.includes('last error: &lt;x&gt;'));
  assert.ok(serviceBadges(null).markup.includes('gateway: unreachable'));
});

test('what each figure leaves open stands beside it, and why the tier is this one in a sentence', () => {
  const markup = card();
  for (const text of [
    '40% to 50%', '$10,000 to $14,000', 'High, because the probability of 45.7% is not below 30%',
    'What matters most: 5 service calls raise the risk by 31 points.',
  ]) assert.ok(markup.includes(text), text);
});

test('reasons are rows with a bar and a figure, and those that do not matter one row together', () => {
  const rows = card().match(/<tbody>(.*?)<\/tbody>/s)[1].match(/<tr.*?<\/tr>/gs);
  assert.equal(rows.length, 3);
  assert.ok(rows[0].includes('is-more') && rows[0].includes('+31'));
  assert.ok(rows[1].includes('is-less') && rows[1].includes('-10'));
  assert.ok(rows[2].includes('Hardly change the risk: State and area code'));
});

test('advice that the page does not know is told in the words of the API, and marked as English', () => {
  assert.ok(card({ recommendation: 'ESCALATE: Do <b>it</b>.' }).includes('ESCALATE</strong> <span lang="en">Do &lt;b&gt;it&lt;/b&gt;.'));
});

test('as text the answer has what the card has', () => {
  const text = answerText(answer());
  for (const part of ['High risk', '45.7% (40% to 50%)', '$12,346', 'HIGH PRIORITY: Assign', '5 service calls']) {
    assert.ok(text.includes(part), part);
  }
});

test('in Spanish the same answer speaks Spanish', async (t) => {
  await speak('es');
  t.after(() => speak('en'));
  const markup = card();
  for (const text of ['Riesgo alto', 'PRIORIDAD ALTA', 'Asigne un gestor', 'Llamadas a atención al cliente: sube el riesgo']) {
    assert.ok(markup.includes(text), text);
  }
});

test('the banner names the half that is missing, and is empty when nothing is', () => {
  const service = (model, state) => ({ model, state });
  assert.equal(banner([service('churn', 'ready'), service('clv', 'ready')]).markup, '');
  assert.match(banner([service('churn', 'ready'), service('clv', 'unreachable')]).markup, /lifetime-value model cannot answer/);
  assert.match(banner(null).markup, /gateway cannot be reached/);
});
