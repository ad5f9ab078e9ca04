import assert from 'node:assert/strict';
import { test } from 'node:test';

import { servicesNow } from '../../../frontend/site/js/api.js';
import { speak } from '../../../frontend/site/js/language.js';

await speak('en');

for (const [what, status, body, known] of [
  ['told is told', 200, { services: [{ name: 'churn-service' }] }, [{ name: 'churn-service' }]],
  ['refused for want of a key is not known', 401, {}, []],
  ['refused for want of a scope is not known', 403, {}, []],
  ['asked too often is not known', 429, {}, []],
  ['out is nobody', 503, {}, null],
]) {
  test(`of the services, what is ${what}`, async (t) => {
    t.mock.method(globalThis, 'fetch', async () => new Response(JSON.stringify(body), { status }));
    assert.deepEqual(await servicesNow(), known);
  });
}

test('where no answer comes at all there is nobody', async (t) => {
  t.mock.method(globalThis, 'fetch', async () => { throw new TypeError('no connection'); });
  assert.equal(await servicesNow(), null);
});
