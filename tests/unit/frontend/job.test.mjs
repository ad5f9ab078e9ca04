import assert from 'node:assert/strict';
import { test } from 'node:test';

import { readMapping, typeOf } from '../../../frontend/site/js/components/file-choice.js';
import { figures } from '../../../frontend/site/js/components/job-progress.js';
import { customerTable, errorTable, noCustomers, resultHead, summaryTiles } from '../../../frontend/site/js/components/job-result.js';
import { duration } from '../../../frontend/site/js/format.js';
import { speak } from '../../../frontend/site/js/language.js';

await speak('en');
const HOSTILE = '<img src=x onerror=alert(1)>';

test('a file is known by the end of its name', () => {
  assert.equal(typeOf('A.b.CSV'), 'text/csv');
  assert.equal(typeOf('a.parquet'), 'application/vnd.apache.parquet');
  assert.equal(typeOf('a.xls'), undefined);
});

test('a mapping names the field of each column; what is missing or chosen twice is an error', () => {
  const data = new FormData();
  for (const [field, header] of [['accountLength', 'tenure'], ['totalDayCalls', 'tenure'], ['customerId', 'id'], ['state', '']]) {
    data.set(field, header);
  }
  const { mapping, errors } = readMapping(data, ['tenure', 'id']);
  assert.deepEqual(mapping, { tenure: 'accountLength', id: 'customerId' });
  assert.ok(errors.has('totalDayCalls') && errors.has('state') && !errors.has('accountLength') && !errors.has('customerId'));
});

test('a column may be called as what every object has', () => {
  const data = new FormData();
  for (const [field, header] of [['accountLength', 'toString'], ['state', '__proto__']]) data.set(field, header);
  const { mapping, errors } = readMapping(data, ['toString', '__proto__']);
  assert.deepEqual(Object.entries(mapping), [['toString', 'accountLength'], ['__proto__', 'state']]);
  assert.ok(!errors.has('accountLength') && !errors.has('state'));
});

test('how far a job is, in a line: only what is known', () => {
  const job = { state: 'running', progress: 0.5, rows_done: 1200, rows_failed: 1, rows_per_s: null, seconds_left: null, waiting_for: null };
  assert.equal(figures(job), '50% · 1,200 rows · 1 row with errors');
  assert.equal(figures({ ...job, rows_failed: 0, rows_per_s: 20_000.4, seconds_left: 75 }), '50% · 1,200 rows · 20,000 rows a second · 1 min 15 sec left');
});

test('time is told in minutes and seconds, and never as none', () => {
  assert.deepEqual([0.2, 59, 61, 3600].map(duration), ['1 sec', '59 sec', '1 min 1 sec', '60 min']);
});

const ROW = {
  row: 7, customer: { customerId: HOSTILE, state: HOSTILE, internationalPlan: 'Yes' }, churn_probability: 0.4, churn_risk: 'High',
  estimated_clv: 100, recommendation: `X: ${HOSTILE}`, value_at_risk: 40,
};

test('rows are numbered by their rank, one without an id by its place in the file, and none runs anything', () => {
  const page = { rows: [ROW, { ...ROW, customer: {} }], total: 102 };
  const { markup } = customerTable(page, { offset: 100, limit: 100 });
  for (const text of ['>101<', '>102<', 'Row 7', '101 to 102 of 102', 'Yes']) assert.ok(markup.includes(text), text);
  assert.ok(!markup.includes('<img'));
  assert.match(markup, /data-rows="200"\s+data-step="next"\s+disabled/);
  assert.match(customerTable({ rows: [], total: 0 }, { offset: 0, limit: 100 }).markup, /No customer fits/);
});

test('faults have their line, the field by its label, and the reason', () => {
  const { markup } = errorTable({ errors: [{ line: 3, field: 'state', reason: HOSTILE }, { line: 4, field: '', reason: 'x' }], total: 2 }, { offset: 0, limit: 50 });
  for (const text of ['>3<', '>State<', '&lt;img', 'the row']) assert.ok(markup.includes(text), text);
  assert.ok(!markup.includes('pager'));
});

test('a tier that nobody is in is none, and not left out', () => {
  const { markup } = summaryTiles({ customers: 0, failed: 2, value_at_risk: 0, tiers: {} });
  assert.equal((markup.match(/0%, \$0 at risk/g) ?? []).length, 3);
  assert.ok(markup.includes('2 rows with errors'));
});

test('who scored a file is said where somebody did, and nothing is said of filters where there is nobody to filter', () => {
  const job = { id: 'j', finished_at: '2026-01-01T00:00:00Z', models: { churn: [] }, policy_version: 'p' };
  const text = (each) => /<p class="quiet">(.*?)<\/p>/.exec(resultHead(each, 'a', '#').markup)[1];
  assert.match(text(job), /^Looked through [^;]*\.$/);
  assert.match(text({ ...job, models: { churn: ['1', '2'], clv: [] } }), /^Scored .* by churn 1, 2; policy p\.$/);
  assert.match(noCustomers({ failed: 2 }).markup, /No row could be scored/);
  assert.match(noCustomers({ failed: 0 }).markup, /no customers in this file/);
});
