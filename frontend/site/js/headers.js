// The first row of a CSV file, and which of its columns the API knows. It decides itself; here somebody is asked in time.

import { FIELDS } from './fields.js';

const DELIMITERS = [',', ';', '\t'];

// As `canonical_name` and its table in telelink_shared/headers.py; a test compares both.
const OTHER_NAMES = new Map(Object.entries({
  number_vmail_messages: 'number_of_vmail_messages',
  number_customer_service_calls: 'customer_service_calls',
  int_l_plan: 'international_plan',
  vmail_plan: 'voice_mail_plan',
  vmail_message: 'number_of_vmail_messages',
  cust_serv_calls: 'customer_service_calls',
}));
for (const period of ['day', 'eve', 'night', 'intl']) {
  for (const [short, word] of [['mins', 'minutes'], ['calls', 'calls'], ['charge', 'charge']]) {
    OTHER_NAMES.set(`${period}_${short}`, `total_${period}_${word}`);
  }
}

// Of lists that models are trained on; they say nothing about whom a row is about.
const OUTCOMES = new Set(['churn', 'class', 'target', 'clv', 'lifetimeValue', 'lifetimeValueUsd']);

/** A header in any known spelling as the API's field of that meaning; any other in its own spelling. @param {string} header */
export function fieldOf(header) {
  const snake = header.trim().replace(/(?<=[a-z])(?=[A-Z])/g, '_').toLowerCase()
    .replace(/[^a-z0-9]+/g, '_').replace(/^_+|_+$/g, '');
  return (OTHER_NAMES.get(snake) ?? snake).replace(/_([a-z0-9])/g, (_, letter) => letter.toUpperCase());
}

/**
 * The column names of a CSV file.
 * @param {string} text its beginning @returns {string[]}
 */
export function headersOf(text) {
  const row = /^(?:"(?:[^"]|"")*"|[^"\r\n])*/.exec(text.replace(/^\uFEFF/, ''))[0];
  const outside = row.replace(/"[^"]*"/g, '');
  const count = (delimiter) => outside.split(delimiter).length;
  const delimiter = DELIMITERS.reduce((best, each) => (count(each) > count(best) ? each : best));
  const cells = [];
  let [cell, isQuoted] = ['', false];
  for (let i = 0; i < row.length; i += 1) {
    if (isQuoted && row.startsWith('""', i)) {
      // Within quotes, two are one of the text itself.
      cell += '"';
      i += 1;
    } else if (row[i] === '"') isQuoted = !isQuoted;
    else if (row[i] === delimiter && !isQuoted) {
      cells.push(cell.trim());
      cell = '';
    } else cell += row[i];
  }
  return [...cells, cell.trim()];
}

/**
 * The names in the first line of an NDJSON file.
 * @param {string} text its beginning @returns {string[]} none where it cannot be read: the API says why
 */
export function namesOf(text) {
  try {
    const first = JSON.parse(/\S[^\n]*/.exec(text)?.[0] ?? '');
    return first !== null && typeof first === 'object' && !Array.isArray(first) ? Object.keys(first) : [];
  } catch {
    return [];
  }
}

/**
 * What can be asked before a file is scored.
 * @param {string[]} headers
 * @returns {{missing: string[], likely: string[], optional: string[], free: string[]}} fields without a column: those that
 *   are needed, those that one of the columns may well stand for, and the rest; and columns without a field
 */
export function toBeMapped(headers) {
  const known = new Set(headers.map(fieldOf));
  const fields = new Set(FIELDS.map(({ name }) => name));
  const without = FIELDS.filter(({ name }) => !known.has(name));
  const free = headers.filter((header) => header && !fields.has(fieldOf(header)) && !OUTCOMES.has(fieldOf(header)));
  // Any column may name a customer, and a list without names is of little use.
  const isLikely = (name) => (name === 'customerId' ? free.length > 0 : likeliest(name, free) !== undefined);
  const namesOfThose = (fits) => without.filter(fits).map(({ name }) => name);
  return {
    missing: namesOfThose(({ required }) => required),
    likely: namesOfThose(({ required, name }) => !required && isLikely(name)),
    optional: namesOfThose(({ required, name }) => !required && !isLikely(name)),
    free,
  };
}

/**
 * The column that most likely stands for a field: one whose words are among the field's, or the other way round.
 * @param {string} field @param {string[]} headers @returns {string|undefined}
 */
export function likeliest(field, headers) {
  const words = (text) => text.replace(/([a-z])([A-Z])/g, '$1 $2').toLowerCase().match(/[a-z]{3,}/g) ?? [];
  const wanted = words(field).filter((word) => word !== 'total' && word !== 'number');
  const score = (header) => {
    const own = words(header);
    const hits = wanted.filter((word) => own.some((each) => each.startsWith(word.slice(0, 4)) || word.startsWith(each)));
    return hits.length / wanted.length;
  };
  const [best] = headers.map((header) => [score(header), header]).sort(([a], [b]) => b - a);
  return best && best[0] > 0.5 ? best[1] : undefined;
}
