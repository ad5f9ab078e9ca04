import assert from 'node:assert/strict';
import { test } from 'node:test';

import { answerCard } from '../../../frontend/site/js/components/result-card.js';
import { serviceBadges } from '../../../frontend/site/js/components/service-badges.js';

const POLICY = { medium_from: 0.15, high_from: 0.3 };
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
    value_at_risk: { usd: 5_638.24 },
    ...changes,
  };
  return answerCard({ prediction, missing: [], storedAs: '0123456789abcdef', ...more }).markup;
}

test('the answer shows tier, probability, value, advice, confidence, versions and where it is kept', () => {
  const markup = answer();
  for (const text of ['High risk', '45.7%', '$12,346', '$5,638', 'HIGH PRIORITY', 'Very High', 'churn version 1', '…89abcdef']) {
    assert.ok(markup.includes(text), text);
  }
});

test('a missing half is said to be missing and no figure is made up for it', () => {
  const unknown = { churn_probability: null, churn_risk: null, confidence: null, value_at_risk: { usd: null } };
  const markup = answer({ ...unknown, models: { churn: null, clv: MODEL } }, { missing: ['churn'] });
  assert.ok(markup.includes('The churn model cannot answer right now'));
  assert.ok(markup.includes('Risk not known'));
  assert.equal((markup.match(/not known<\/dd>/g) ?? []).length, 2);
});

test('an answer that was not stored says so', () => {
  assert.ok(answer({}, { storedAs: null }).includes('Not kept'));
});

test('a probability of zero is a figure, not a gap', () => {
  assert.ok(answer({ churn_probability: 0, churn_risk: 'Low' }).includes('<dd>0%</dd>'));
});

test('services are shown by their state, and a silent gateway as unreachable', () => {
  const service = { name: 'churn-service', state: 'not ready', model: 'churn', version: null, latency_ms: null, last_error: '<x>' };
  const markup = serviceBadges([service]).markup;
  assert.ok(markup.includes('churn-service: not ready'));
  assert.ok(markup.includes('last error: &lt;x&gt;'));
  assert.ok(serviceBadges(null).markup.includes('gateway: unreachable'));
});
