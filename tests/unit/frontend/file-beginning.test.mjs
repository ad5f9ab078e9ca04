import assert from 'node:assert/strict';
import { test } from 'node:test';

import { beginningOf } from '../../../frontend/site/js/file-beginning.js';

const CSV = 'text/csv';
const [NDJSON, PARQUET] = ['application/x-ndjson', 'application/vnd.apache.parquet'];
const bytes = (...codes) => Uint8Array.from(codes);

for (const [what, content, type, told] of [
  ['columns has their names', 'a,é\n1,2\n', CSV, { headers: ['a', 'é'] }],
  ['a mark at its beginning has none in its names', '\uFEFFa,b\n', CSV, { headers: ['a', 'b'] }],
  ['a letter that is cut in two is read up to it', `a,b\n1,x${'é'.repeat(40_000)}`, CSV, { headers: ['a', 'b'] }],
  ['lines of JSON has their names', '{"a": 1}\n', NDJSON, { headers: ['a'] }],
  ['nothing in it is empty', '', CSV, { headers: [], fault: 'empty' }],
  ['nothing in it is empty, of any kind', '', PARQUET, { headers: [], fault: 'empty' }],
  ['nothing but line breaks is empty', '\uFEFF\r\n\n', CSV, { headers: [], fault: 'empty' }],
  ['letters of Windows-1252 is no UTF-8', bytes(0x61, 0x2c, 0xe9, 0x0a), CSV, { headers: [], fault: 'not-utf8' }],
  ['letters of UTF-16 is no UTF-8', bytes(0xff, 0xfe, 0x61, 0x00), CSV, { headers: [], fault: 'not-utf8' }],
  ['letters of UTF-16 and no mark is no UTF-8', bytes(0x61, 0x00, 0x2c, 0x00), CSV, { headers: [], fault: 'not-utf8' }],
  ['what is not read here is for the API to read', bytes(0xff), PARQUET, { headers: [] }],
]) {
  test(`a file with ${what}`, async () => assert.deepEqual(await beginningOf(new Blob([content]), type), told));
}
