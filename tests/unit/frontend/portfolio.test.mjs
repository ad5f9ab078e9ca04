import assert from 'node:assert/strict';
import { test } from 'node:test';

import { bar } from '../../../frontend/site/js/components/bar.js';
import { dayIn, lastDays, lastMonth } from '../../../frontend/site/js/views/portfolio.js';

test('the last days end today and are counted by UTC', () => {
  const late = new Date('2026-03-01T23:59:00Z');
  assert.deepEqual(lastDays(1, late), { from: '2026-03-01', to: '2026-03-01' });
  assert.deepEqual(lastDays(30, late), { from: '2026-01-31', to: '2026-03-01' });
});

test('the last month is a whole one, also across the turn of a year', () => {
  assert.deepEqual(lastMonth(new Date('2026-03-31T23:59:00Z')), { from: '2026-02-01', to: '2026-02-28' });
  assert.deepEqual(lastMonth(new Date('2026-01-01T00:00:00Z')), { from: '2025-12-01', to: '2025-12-31' });
});

test('a bar is never longer than its track', () => {
  const filled = (share) => /bar-fill" width="([\d.]+)"/.exec(bar(share).markup)[1];
  assert.deepEqual([filled(-1), filled(0.256), filled(2)], ['0.00', '25.60', '100.00']);
});

test('of an address only days of the calendar are taken', () => {
  for (const day of ['2026-01-31', '2024-02-29', '0001-01-01']) assert.equal(dayIn(day), day);
  for (const text of [null, '', '2026-99-99', '2026-02-29', '2026-02-31', '0000-01-01', '2026-1-1', '2026-01-01T00:00']) {
    assert.equal(dayIn(text), null, text);
  }
});
