import assert from 'node:assert/strict';
import { test } from 'node:test';

import {
  EXAMPLES, FIELDS, errorsByField, fromParams, readCustomer, readField, toParams,
} from '../../../frontend/site/js/fields.js';
import { speak } from '../../../frontend/site/js/language.js';

await speak('en');
const EXAMPLE = EXAMPLES.loyal;

const field = (name) => FIELDS.find((each) => each.name === name);

function filledIn(changes = {}) {
  const data = new FormData();
  for (const [name, value] of Object.entries({ ...EXAMPLE, ...changes })) data.set(name, String(value));
  return data;
}

test('a filled-in form becomes a customer with numbers as numbers', () => {
  const { customer, errors } = readCustomer(filledIn({ totalDayMinutes: ' 180.5 ', customerId: '' }));
  assert.equal(errors.size, 0);
  assert.deepEqual(customer, { ...EXAMPLE, totalDayMinutes: 180.5 });
});

test('an empty form names every required field and no optional one', () => {
  const { errors } = readCustomer(new FormData());
  assert.deepEqual([...errors.keys()], FIELDS.filter((each) => each.required).map((each) => each.name));
});

for (const [name, text] of [
  ['totalDayCalls', '-1'],
  ['totalDayCalls', '1.5'],
  ['totalDayCalls', 'many'],
  ['totalDayCalls', '1e3'],
  ['totalDayCalls', '10001'],
  ['totalDayMinutes', '1,5'],
  ['totalDayMinutes', '44641'],
  ['totalDayMinutes', 'NaN'],
]) {
  test(`${name} does not take ${text}`, () => {
    const { value, error } = readField(field(name), text);
    assert.equal(value, undefined);
    assert.match(error, /^Enter .*\.$/);
  });
}

test('limits themselves are taken', () => {
  assert.deepEqual(readField(field('totalDayCalls'), '10000'), { value: 10_000 });
  assert.deepEqual(readField(field('totalDayMinutes'), '0'), { value: 0 });
});

for (const [locale, language, taken, refused] of [
  ['en-US', 'en', { '148.5': 148.5, '1.485': 1.485 }, ['148,5', '1,485', '1,485.5']],
  ['es-ES', 'es', { '148,5': 148.5, '148.5': 148.5, '1,485': 1.485, '1485': 1485 }, ['1.485', '1.485,5', '1,4,5', '148,']],
  ['es-US', 'es', { '148.5': 148.5 }, ['148,5', '1,485']],
]) {
  test(`in ${locale} a decimal is read as it is written there, and nothing is read that may be another`, async (t) => {
    const { navigator: before } = globalThis;
    Object.defineProperty(globalThis, 'navigator', { value: { languages: [locale] }, configurable: true, writable: true });
    t.after(() => { globalThis.navigator = before; });
    await speak(language);
    const minutes = field('totalDayMinutes');
    for (const [text, value] of Object.entries(taken)) assert.deepEqual(readField(minutes, text), { value }, text);
    for (const text of refused) assert.match(readField(minutes, text).error, locale === 'es-ES' ? /180,5/ : /180\.5/, text);
    await speak('en');
  });
}

test('what the browser could make nothing of is an error, also in a field that may be empty', () => {
  assert.match(readField(field('totalDayMinutes'), '', true).error, /^Enter a number/);
});

for (const [name, example] of Object.entries(EXAMPLES)) {
  test(`the example ${name} is whole, and an address holds it`, () => {
    const { customer, errors } = readCustomer(new URLSearchParams(fromParams(toParams(example))));
    assert.equal(errors.size, 0);
    assert.deepEqual(customer, example);
  });
}

test("an address says nothing of whose fields they are, and asks for no field that isn't one", () => {
  assert.equal(toParams({ ...EXAMPLE, customerId: 'c1' }).has('customerId'), false);
  assert.deepEqual(fromParams(new URLSearchParams('state=OH&evil=1&totalDayCalls=many')), { state: 'OH' });
});

test("the server's errors find their fields, and the others are kept", () => {
  const { errors, others } = errorsByField([
    { pointer: '/state', message: 'must be the two-letter code' },
    { pointer: '/not~1mine', message: 'is not known' },
    { pointer: '', message: 'nothing to point at.' },
  ]);
  assert.deepEqual([...errors], [['state', 'Must be the two-letter code.']]);
  assert.deepEqual(others, ['Is not known.', 'Nothing to point at.']);
});
