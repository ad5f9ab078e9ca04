import assert from 'node:assert/strict';
import { test } from 'node:test';

import { fileName, forgetFileNames, keepFileName } from '../../../frontend/site/js/file-names.js';
import { FIELDS } from '../../../frontend/site/js/fields.js';
import { namesOf, toBeMapped } from '../../../frontend/site/js/headers.js';

const NEEDED = FIELDS.filter(({ required }) => required).map(({ name }) => name);

test('NDJSON has the names of its first line, and none where that is no object', () => {
  assert.deepEqual(namesOf('\n{"state": "OH", "Phone": 1}\n{"other": 2}'), ['state', 'Phone']);
  for (const text of ['', '\n', '[1]', 'null', '7', '{"state": ', 'state,area']) assert.deepEqual(namesOf(text), [], text);
});

test('nobody is asked about a list that has all, or whose other columns can stand for nothing', () => {
  for (const more of [[], ['customerId', 'Phone'], ['churn', 'CLV', 'lifetime_value_usd'], ['customer_id', 'day_of_week']]) {
    const { missing, likely } = toBeMapped([...NEEDED, ...more]);
    assert.deepEqual([missing, likely], [[], []], String(more));
  }
});

test('any column may name the customer, and one that sounds like a field may be it', () => {
  const { missing, likely, free } = toBeMapped([...NEEDED.slice(1), 'Phone', 'minutes by day', 'churn']);
  assert.deepEqual(missing, [NEEDED[0]]);
  assert.deepEqual(likely, ['customerId', 'totalDayMinutes']);
  assert.deepEqual(free, ['Phone', 'minutes by day']);
});

test('names of files are kept, the newest of a job, not too many of them, and forgotten when asked to', () => {
  const kept = new Map();
  const storage = {
    getItem: (key) => kept.get(key) ?? null, setItem: (key, value) => kept.set(key, value), removeItem: (key) => kept.delete(key),
  };
  for (let i = 0; i < 60; i += 1) keepFileName(`j${i}`, `list ${i}.csv`, storage);
  assert.equal(fileName('j59', storage), 'list 59.csv');
  assert.equal(fileName('j0', storage), undefined);
  forgetFileNames(storage);
  assert.equal(fileName('j59', storage), undefined);
  for (const broken of ['{', '{}', 'null', '[null]']) {
    kept.set('telelink.files', broken);
    assert.equal(fileName('j59', storage), undefined, broken);
  }
});
