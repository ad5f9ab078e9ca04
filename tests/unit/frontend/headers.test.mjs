import assert from 'node:assert/strict';
import { test } from 'node:test';

import { fieldOf, headersOf, likeliest, toBeMapped } from '../../../frontend/site/js/headers.js';

for (const [what, text, headers] of [
  ['commas', 'a,b\n1,2\n', ['a', 'b']],
  ['semicolons, more of them than commas', 'a;"b, c";d\r\n', ['a', 'b, c', 'd']],
  ['tabs', 'a\tb', ['a', 'b']],
  ['a byte order mark', '\uFEFFa,b\n', ['a', 'b']],
  ['a quoted line break, and quotes within quotes', '"a\nb", c\n1,2', ['a\nb', 'c']],
  ['doubled quotes, which are quotes of the text', '"Service ""x""","a"",b",""\r\n1,2,3', ['Service "x"', 'a",b', '']],
  ['nothing at all', '', ['']],
]) {
  test(`the first row with ${what} is read as the API reads it`, () => assert.deepEqual(headersOf(text), headers));
}

test('what has no column is asked for, and only columns that are nothing yet are offered', () => {
  const { missing, free } = toBeMapped(['Account Length', 'tenure', 'intl_calls', 'x']);
  assert.equal(missing.length, 9);
  assert.ok(!missing.includes('accountLength') && !missing.includes('totalIntlCalls'));
  assert.deepEqual(free, ['tenure', 'x']);
});

test('a column that is called much like a field is proposed for it, and any other is not', () => {
  assert.equal(likeliest('accountLength', ['x', 'Length of the account']), 'Length of the account');
  assert.equal(likeliest('totalDayCalls', ['calls', 'day']), undefined);
  assert.equal(likeliest('state', []), undefined);
});

test('a spelling that is nobody\'s stays what it is', () => assert.equal(fieldOf(' Their Name! '), 'theirName'));

test('a header may be called as what every object has', () => {
  for (const header of ['constructor', 'toString', '__proto__', 'hasOwnProperty']) {
    assert.deepEqual(toBeMapped([header]).free, [header]);
  }
});
