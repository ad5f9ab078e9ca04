import assert from 'node:assert/strict';
import { test } from 'node:test';

import { toParams } from '../../../frontend/site/js/fields.js';
import { answerFor, forgetAnswers, keepAnswer, recentAnswers } from '../../../frontend/site/js/recent.js';

function storage() {
  const kept = new Map();
  return {
    getItem: (key) => kept.get(key) ?? null, setItem: (key, value) => kept.set(key, value), removeItem: (key) => kept.delete(key),
  };
}

const answer = (days, at = 0) => ({ customer: { accountLength: days }, prediction: {}, missing: [], storedAs: null, at });

test('the newest comes first, an older answer about the same customer goes, and no more than eight are kept', () => {
  const store = storage();
  for (let days = 0; days < 9; days += 1) keepAnswer(answer(days), store);
  keepAnswer(answer(3, 1), store);
  assert.deepEqual(recentAnswers(store).map((each) => [each.customer.accountLength, each.at]), [
    [3, 1], [8, 0], [7, 0], [6, 0], [5, 0], [4, 0], [2, 0], [1, 0],
  ]);
});

test('what is to be forgotten is', () => {
  const store = storage();
  keepAnswer(answer(1), store);
  forgetAnswers(store);
  assert.deepEqual(recentAnswers(store), []);
  forgetAnswers({});
});

test('an address finds its answer, and an empty one none', () => {
  const store = storage();
  keepAnswer(answer(5), store);
  assert.equal(answerFor(toParams({ accountLength: 5 }), store).customer.accountLength, 5);
  assert.equal(answerFor(new URLSearchParams(), store), undefined);
});

test('what is not ours in the storage, or no storage at all, is no answer and no failure', () => {
  const broken = { getItem: () => '{"a', setItem: () => { throw new Error('full'); } };
  assert.deepEqual(recentAnswers(broken), []);
  keepAnswer(answer(1), broken);
  assert.deepEqual(recentAnswers({ getItem: () => '{}' }), []);
});
