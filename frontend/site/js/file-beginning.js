// What the beginning of a file says of it, before it is sent.

import { headersOf, namesOf } from './headers.js';

// The first row of a file is within these.
const BYTES = 65_536;
// Of other kinds of files nothing is read here.
const READERS = { 'text/csv': headersOf, 'application/x-ndjson': namesOf };

/**
 * @param {Blob} file @param {string} type its media type
 * @returns {Promise<{headers: string[], fault?: 'empty'|'not-utf8'}>} the names of its columns, as far as they can be read
 *   here; a fault for which the API would refuse it
 */
export async function beginningOf(file, type) {
  if (file.size === 0) return { headers: [], fault: 'empty' };
  if (!READERS[type]) return { headers: [] };
  const bytes = await file.slice(0, BYTES).arrayBuffer();
  let text;
  try {
    // As of a stream: the last character may be cut in two.
    text = new TextDecoder('utf-8', { fatal: true }).decode(bytes, { stream: true });
  } catch {
    return { headers: [], fault: 'not-utf8' };
  }
  // UTF-16 without its mark is taken for UTF-8 with a zero beside each letter.
  if (text.includes('\0')) return { headers: [], fault: 'not-utf8' };
  if (text.trim() === '' && bytes.byteLength === file.size) return { headers: [], fault: 'empty' };
  return { headers: READERS[type](text) };
}
