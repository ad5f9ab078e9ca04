import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Store, whenSignedIn } from '../../../frontend/site/js/store.js';

test('a watcher is called at once and then only for its own members', () => {
  const store = new Store({ a: 1, b: 1 });
  const seen = [];
  store.watch(['a'], (state) => seen.push(state.a));
  store.set({ b: 2 });
  store.set({ a: 3 });
  assert.deepEqual(seen, [1, 3]);
  assert.deepEqual(store.state, { a: 3, b: 2 });
});

test('who waits for a sign-in is told of each, but not of a session that was there from the start, and not for ever', () => {
  const store = new Store({ access: { kind: 'unknown' } });
  const leaving = new AbortController();
  let told = 0;
  whenSignedIn(store, () => { told += 1; }, leaving.signal);
  const steps = ['signed-in', 'needed', 'needed', 'signed-in', 'signed-in', 'needed', 'open'];
  const seen = steps.map((kind) => (store.set({ access: { kind } }), told));
  assert.deepEqual(seen, [0, 0, 0, 1, 1, 1, 1]);
  leaving.abort();
  for (const kind of ['needed', 'signed-in']) store.set({ access: { kind } });
  assert.equal(told, 1);
});
