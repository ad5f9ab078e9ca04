// Figures as people read them.

const DOLLARS = new Intl.NumberFormat('en-US', { style: 'currency', currency: 'USD', maximumFractionDigits: 0 });
const PERCENT = new Intl.NumberFormat('en-US', { style: 'percent', maximumFractionDigits: 1 });

export const NOT_KNOWN = 'not known';

/** @param {number|null|undefined} value in US dollars @returns {string} */
export function dollars(value) {
  return typeof value === 'number' ? DOLLARS.format(value) : NOT_KNOWN;
}

/** @param {number|null|undefined} share from 0 to 1 @returns {string} */
export function percent(share) {
  return typeof share === 'number' ? PERCENT.format(share) : NOT_KNOWN;
}

/**
 * A recommendation's code word and what follows it.
 * @param {string} recommendation 'MONITOR: Send offers.'
 * @returns {{codeWord: string, text: string}}
 */
export function splitAdvice(recommendation) {
  const [, codeWord, text] = /^([A-Z ]+): (.*)$/s.exec(recommendation) ?? [null, '', recommendation];
  return { codeWord, text };
}
