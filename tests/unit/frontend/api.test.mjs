import assert from 'node:assert/strict';
import { test } from 'node:test';

import { ApiError, predict, services, signIn, signInNeeded, signOut, whatIf } from '../../../frontend/site/js/api.js';
import { speak } from '../../../frontend/site/js/language.js';

await speak('en');

/** Answers every request with this until the test ends. */
function answering(t, body, options = {}) {
  t.mock.method(globalThis, 'fetch', async () => new Response(body, options));
}

/** A body whose beginning comes, and then this error. */
function broken(error) {
  return new ReadableStream({
    start(controller) {
      controller.enqueue(new TextEncoder().encode('{"churn_'));
      controller.error(error);
    },
  });
}

test('an answer is its body and what its headers say', async (t) => {
  const headers = { 'X-Degraded': 'churn, clv', 'X-Prediction-Id': 'p1' };
  answering(t, '{"churn_risk": "Low"}', { headers });
  assert.deepEqual(await predict({}), { prediction: { churn_risk: 'Low' }, missing: ['churn', 'clv'], storedAs: 'p1' });
});

for (const [what, body, title] of [
  ['breaks off', broken(new TypeError('network error')), 'The server cannot be reached'],
  ['does not come in time', broken(new DOMException('too late', 'TimeoutError')), 'The server took too long'],
  ['ends early', '{"churn_', 'The answer cannot be read'],
  ['is not from our server', '<!doctype html>', 'The answer cannot be read'],
]) {
  test(`a body that ${what} is an error that the page can show`, async (t) => {
    answering(t, body);
    await assert.rejects(predict({}), (error) => error instanceof ApiError && error.title === title);
  });
}

test('a server that is not there is an error that the page can show', async (t) => {
  t.mock.method(globalThis, 'fetch', async () => {
    throw new TypeError('fetch failed');
  });
  await assert.rejects(services(), (error) => error instanceof ApiError && error.title === 'The server cannot be reached');
});

test('a problem keeps what it says, and without one the status is what is told', async (t) => {
  const problem = { title: 'Not valid', detail: 'See the fields.', errors: [{ pointer: '/state', message: 'No.' }], request_id: 'r1' };
  answering(t, JSON.stringify(problem), { status: 422 });
  await assert.rejects(predict({}), (error) => {
    assert.deepEqual(
      { ...error },
      { status: 422, title: 'Not valid', fields: problem.errors, requestId: 'r1', isByServer: true },
    );
    return error.message === 'See the fields.';
  });
  t.mock.restoreAll();
  answering(t, broken(new TypeError('network error')), { status: 502, headers: { 'X-Request-ID': 'r2' } });
  await assert.rejects(predict({}), (error) => error.status === 502 && error.requestId === 'r2' && !error.isByServer && /502/.test(error.message));
});

test('whatever is refused for want of a key tells so, and nothing else does', async (t) => {
  let told = 0;
  const count = () => (told += 1);
  signInNeeded.addEventListener('needed', count);
  for (const [status, wanted] of [[403, 0], [503, 0], [401, 1]]) {
    answering(t, '{}', { status });
    await assert.rejects(services(), (error) => error.status === status);
    t.mock.restoreAll();
    assert.equal(told, wanted);
  }
  signInNeeded.removeEventListener('needed', count);
});

test('signing in sends the key in the body alone, and signing out has no answer to read', async (t) => {
  const asked = t.mock.method(globalThis, 'fetch', async () => new Response('{"mode": "keys", "name": "crm", "scopes": []}'));
  assert.equal((await signIn('tlk_1')).name, 'crm');
  const [path, { method, body }] = asked.mock.calls[0].arguments;
  assert.deepEqual([path, method, body], ['v1/session', 'POST', '{"key":"tlk_1"}']);
  t.mock.restoreAll();
  t.mock.method(globalThis, 'fetch', async () => new Response(null, { status: 204 }));
  await signOut();
});

test('what was called off is no error of the API', async (t) => {
  t.mock.method(globalThis, 'fetch', async (_, { signal }) => signal.throwIfAborted());
  await assert.rejects(whatIf({}, AbortSignal.abort()), (error) => error.name === 'AbortError');
});
