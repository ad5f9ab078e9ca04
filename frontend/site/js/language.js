// The page's language: every text that it shows itself, from one catalogue for each language.

import { SafeHtml, html } from './html.js';
import { recall, remember } from './remembered.js';

/** Languages by their code, each named in itself. */
export const LANGUAGES = { en: 'English', es: 'Español' };

// A catalogue is loaded only where it is read.
const CATALOGUES = { en: () => import('./texts/en.js'), es: () => import('./texts/es.js') };

let texts = {};
let current = { code: 'en', locale: 'en-US', plural: new Intl.PluralRules('en-US'), number: new Intl.NumberFormat('en-US') };

/**
 * The language to begin with: what was chosen here, else what the browser asks for, else English.
 * @param {string|null} chosen @param {readonly string[]} wanted as in `navigator.languages`
 */
export function languageFor(chosen, wanted) {
  return [chosen, ...wanted.map((each) => each.split('-')[0])].find((code) => code in LANGUAGES) ?? 'en';
}

/**
 * How figures are written: as the browser's user does in this language, else as in the United States.
 * @param {string} code @param {readonly string[]} wanted
 */
export function localeFor(code, wanted) {
  return wanted.find((each) => each.startsWith(`${code}-`)) ?? `${code}-US`;
}

const wanted = () => globalThis.navigator?.languages ?? [];

/** Load a language's texts and take them from now on. @param {string} [code] */
export async function speak(code = languageFor(recall('language'), wanted())) {
  texts = (await CATALOGUES[code]()).default;
  const locale = localeFor(code, wanted());
  current = { code, locale, plural: new Intl.PluralRules(locale), number: new Intl.NumberFormat(locale) };
}

/** The same, and for the next visit too. @param {string} code */
export async function chooseLanguage(code) {
  await speak(code);
  remember('language', code);
}

/** @returns {{code: string, locale: string}} */
export const language = () => current;

function textOf(key) {
  if (texts[key] === undefined) throw new Error(`no text for ${key}`);
  return texts[key];
}

// What ends in a full stop of its own, such as "11:14 a.m.", needs no second one.
const STOPPED = /\.(<\/\w+>)*$/;

const filled = (text, valueOf) => text.replace(/\{(\w+)\}(\.?)/g, (_, name, stop) => {
  const value = String(valueOf(name));
  return STOPPED.test(value) ? value : value + stop;
});

/**
 * A text of the catalogue, its `{places}` filled in.
 * @param {string} key @param {Record<string, string|number>} [values]
 */
export const t = (key, values = {}) => filled(textOf(key), (name) => values[name]);

/**
 * The same as markup: for values that are elements within a sentence.
 * @param {string} key @param {Record<string, SafeHtml|string|number>} values
 */
export const th = (key, values) => new SafeHtml(filled(html`${textOf(key)}`.markup, (name) => html`${values[name]}`.markup));

/** Whether the catalogue has this text: for words that the API may add to. @param {string} key */
export const has = (key) => key in texts;

/** The form of a text that depends on a number: `key.one`, `key.other` and so on. @param {string} key @param {number} count */
export function formFor(key, count) {
  const form = `${key}.${current.plural.select(count)}`;
  return has(form) ? form : `${key}.other`;
}

/**
 * A text that depends on a number; `{count}` is the number as it is written here.
 * @param {string} key @param {number} count @param {Record<string, string|number>} [values]
 */
export const tn = (key, count, values = {}) => t(formFor(key, count), { count: current.number.format(count), ...values });

/** A word of the API in the page's language; one that the catalogue does not know stays as it is. */
export const word = (family, value) => (has(`${family}.${value}`) ? t(`${family}.${value}`) : value);
