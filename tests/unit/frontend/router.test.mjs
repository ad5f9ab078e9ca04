import assert from 'node:assert/strict';
import { test } from 'node:test';

import { address, parseRoute } from '../../../frontend/site/js/router.js';

test('an address names a view and its state, and is read as it was written', () => {
  const hash = address('portfolio', { from: '2026-01-01', state: 'a&b=c?d/é' });
  const { view, params } = parseRoute(hash);
  assert.deepEqual([view, ...params], ['portfolio', ['from', '2026-01-01'], ['state', 'a&b=c?d/é']]);
  assert.equal(address('analyze'), '#/analyze');
});

test('an empty address names no view, a further slash changes nothing, and a place within the page is none', () => {
  for (const [hash, view] of [['', ''], ['#', ''], ['#/', ''], ['#/models/', 'models'], ['#/models?', 'models']]) {
    assert.equal(parseRoute(hash).view, view);
  }
  assert.equal(parseRoute('#main'), null);
});
