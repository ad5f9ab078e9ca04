// Figures as people read them, in the way of their own locale.

import { language, t } from './language.js';

const known = new Map();

/** A formatter costs more to make than to use. */
function formatter(Kind, options) {
  const key = `${Kind.name} ${language().locale} ${JSON.stringify(options)}`;
  if (!known.has(key)) known.set(key, new Kind(language().locale, options));
  return known.get(key);
}

const figure = (options) => (value) =>
  typeof value === 'number' ? formatter(Intl.NumberFormat, options).format(value) : t('format.not-known');

/** @type {(value: number|null|undefined) => string} US dollars, whole */
export const dollars = figure({ style: 'currency', currency: 'USD', maximumFractionDigits: 0 });

/** @type {(value: number|null|undefined) => string} US dollars, such as $1.2M, where room is short */
export const shortDollars = figure({
  style: 'currency', currency: 'USD', notation: 'compact', minimumFractionDigits: 0, maximumFractionDigits: 1,
});

/** @type {(share: number|null|undefined) => string} of a share from 0 to 1 */
export const percent = figure({ style: 'percent', maximumFractionDigits: 1 });

/** @type {(value: number|null|undefined) => string} */
export const number = figure({ maximumFractionDigits: 2 });

/** @type {(value: number|null|undefined) => string} of what is less than one or two */
export const decimal = figure({ maximumFractionDigits: 3 });

/** @type {(share: number|null|undefined) => string} of a share, with its sign, for differences */
export const signedPercent = figure({ style: 'percent', maximumFractionDigits: 1, signDisplay: 'exceptZero' });

/** @type {(value: number|null|undefined) => string} with its sign, for differences */
export const signed = figure({ maximumFractionDigits: 1, signDisplay: 'exceptZero' });

/** @type {(value: number|null|undefined) => string} US dollars with their sign, for differences */
export const signedDollars = figure({
  style: 'currency', currency: 'USD', maximumFractionDigits: 0, signDisplay: 'exceptZero',
});

/** The sign between a number's whole part and the rest of it, as it is written here. */
export const decimalSign = () =>
  formatter(Intl.NumberFormat, {}).formatToParts(1.5).find(({ type }) => type === 'decimal').value;

const moment = (options) => (value) =>
  value === null || value === undefined
    ? t('format.not-known')
    : formatter(Intl.DateTimeFormat, options).format(new Date(value));

/** @type {(value: string|number|Date|null) => string} */
export const date = moment({ dateStyle: 'medium' });

/** @type {(value: string|null) => string} a day of the API, which counts them by UTC */
export const day = moment({ dateStyle: 'medium', timeZone: 'UTC' });

/** @type {(value: string|number|Date|null) => string} */
export const time = moment({ timeStyle: 'medium' });

/** @type {(value: string|number|Date|null) => string} */
export const dateAndTime = moment({ dateStyle: 'medium', timeStyle: 'short' });

/** @param {number} seconds how long something takes, in its largest unit or two @returns {string} */
export function duration(seconds) {
  const whole = Math.max(1, Math.round(seconds));
  const [minutes, rest] = [Math.floor(whole / 60), whole % 60];
  const part = (value, unit) =>
    formatter(Intl.NumberFormat, { style: 'unit', unit, unitDisplay: 'short' }).format(value);
  if (minutes === 0) return part(rest, 'second');
  return minutes < 10 ? `${part(minutes, 'minute')} ${part(rest, 'second')}` : part(minutes, 'minute');
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
