import assert from 'node:assert/strict';
import { test } from 'node:test';

import { followJob } from '../../../frontend/site/js/api.js';
import { speak } from '../../../frontend/site/js/language.js';

await speak('en');

/** A browser's event source whose events a test makes. */
class Source extends EventTarget {
  static CLOSED = 2;

  static made = [];

  readyState = 1;

  constructor(path) {
    super();
    Source.made.push(Object.assign(this, { path }));
  }

  close() {
    this.readyState = Source.CLOSED;
  }

  tell(name, job) {
    this.dispatchEvent(Object.assign(new Event(name), { data: JSON.stringify(job) }));
  }

  refuse() {
    this.close();
    this.dispatchEvent(new Event('error'));
  }
}

const job = (state, progress = 0) => ({ id: 'j', state, progress });
const answer = (body, status = 200) => () => new Response(JSON.stringify(body), { status });

/** What a view is told of a job; `wait` lets time pass, and what was asked be answered. */
function following(t, ...answers) {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  globalThis.EventSource = Source;
  Source.made = [];
  const asked = t.mock.method(globalThis, 'fetch', async () => (answers.length > 1 ? answers.shift() : answers[0])());
  const told = [];
  const leaving = new AbortController();
  t.after(() => leaving.abort());
  followJob(
    'j',
    {
      tell: ({ state, progress }) => told.push([state, progress]),
      lost: () => told.push(['lost']),
      fail: ({ status }) => told.push(['failed', status]),
    },
    leaving.signal,
  );
  const wait = async (ms) => {
    t.mock.timers.tick(ms);
    await new Promise(setImmediate);
    await new Promise(setImmediate);
  };
  return { told, asked: asked.mock, leaving, wait, source: () => Source.made.at(-1) };
}

test('a job is told as its events come, and nobody asks', async (t) => {
  const { told, asked, source, wait } = following(t, answer({}));
  source().tell('progress', job('running', 0.5));
  await wait(7_000);
  source().tell('finished', job('succeeded', 1));
  await wait(60_000);
  assert.deepEqual(told, [['running', 0.5], ['succeeded', 1]]);
  assert.equal(asked.callCount(), 0);
  assert.equal(source().readyState, Source.CLOSED);
});

test('where events are held back, the job is asked until it has ended', async (t) => {
  const { told, asked, source, wait } = following(t, answer(job('running', 0.1)), answer(job('running', 0.7)), answer(job('succeeded', 1)));
  await wait(8_000);
  await wait(2_000);
  await wait(2_000);
  await wait(60_000);
  assert.deepEqual(told, [['running', 0.1], ['running', 0.7], ['succeeded', 1]]);
  assert.equal(asked.callCount(), 3);
  assert.equal(source().readyState, Source.CLOSED);
});

test('where events are refused, the job is asked at once, and then every two seconds', async (t) => {
  const { told, source, wait, asked } = following(t, answer(job('running', 0.1)), answer(job('succeeded', 1)));
  source().refuse();
  await wait(0);
  source().refuse();
  await wait(1_000);
  assert.equal(asked.callCount(), 1);
  await wait(1_000);
  assert.deepEqual(told, [['running', 0.1], ['succeeded', 1]]);
});

test('an outage is told, and the job followed on when it is over', async (t) => {
  const { told, source, wait } = following(t, answer({}, 503), answer({}, 502), answer(job('running', 0.4)));
  source().refuse();
  await wait(0);
  await wait(2_000);
  await wait(2_000);
  assert.equal(Source.made.length, 2);
  source().tell('finished', job('failed'));
  assert.deepEqual(told, [['lost'], ['lost'], ['running', 0.4], ['failed', 0]]);
});

test('a job that is not there is not waited for', async (t) => {
  const { told, source, wait, asked } = following(t, answer({}, 404));
  source().refuse();
  await wait(0);
  await wait(60_000);
  assert.deepEqual(told, [['failed', 404]]);
  assert.equal(asked.callCount(), 1);
});

test('a view that was left hears and asks nothing more', async (t) => {
  const { told, source, wait, leaving, asked } = following(t, answer(job('running')));
  leaving.abort();
  source().tell('progress', job('running'));
  await wait(60_000);
  assert.deepEqual([told, asked.callCount(), source().readyState], [[], 0, Source.CLOSED]);
});
