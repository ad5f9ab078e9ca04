import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Store } from '../../../frontend/site/js/store.js';

test('a watcher is called at once and then only for its own members', () => {
  const store = new Store({ a: 1, b: 1 });
  const seen = [];
  store.watch(['a'], (state) => seen.push(state.a));
  store.set({ b: 2 });
  store.set({ a: 3 });
  assert.deepEqual(seen, [1, 3]);
  assert.deepEqual(store.state, { a: 3, b: 2 });
});
