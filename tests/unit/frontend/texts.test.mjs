import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import { test } from 'node:test';

import { html } from '../../../frontend/site/js/html.js';
import { LANGUAGES, languageFor, localeFor, speak, t, th, tn } from '../../../frontend/site/js/language.js';
import en from '../../../frontend/site/js/texts/en.js';
import es from '../../../frontend/site/js/texts/es.js';

const SITE = new URL('../../../frontend/site/', import.meta.url);
const sources = ['js/', 'js/views/', 'js/components/'].flatMap((folder) =>
  readdirSync(new URL(folder, SITE)).filter((name) => name.endsWith('.js')).map((name) => folder + name),
);
const read = (name) => readFileSync(new URL(name, SITE), 'utf8');

test('each language has the same texts with the same places in them', () => {
  const places = (texts) => Object.fromEntries(Object.entries(texts).map(([key, text]) => [key, [...text.matchAll(/\{\w+\}/g)].map(String).sort()]));
  assert.deepEqual(Object.keys(es).sort(), Object.keys(en).sort());
  // What the API says in English is left out elsewhere, and said by a word of the page's own.
  const inBoth = (texts) => Object.fromEntries(Object.entries(places(texts)).filter(([key]) => !/^(reasons\.(churn|clv)-|advice\.)/.test(key)));
  assert.deepEqual(inBoth(es), inBoth(en));
  assert.deepEqual(Object.keys(LANGUAGES).sort(), ['en', 'es']);
});

test('every text that a file asks for by name is there', () => {
  for (const name of sources) {
    for (const [, key] of read(name).matchAll(/\bth?\('([^']+)'/g)) assert.ok(key in en, `${name}: ${key}`);
    for (const [, key] of read(name).matchAll(/\b(?:tn|formFor)\('([^']+)'/g)) assert.ok(`${key}.other` in en, `${name}: ${key}`);
  }
  for (const [, key] of read('index.html').matchAll(/data-(?:text|label)="([^"]+)"/g)) assert.ok(key in en, key);
});

/** What stands between the values of every html`…` of a source, nested ones too. */
function templates(source) {
  const found = [];
  const readTemplate = (from) => {
    let [text, i] = ['', from];
    while (source[i] !== '`') {
      if (source.startsWith('${', i)) {
        i = readCode(i + 2);
        text += '${}';
      } else text += source[i++];
    }
    found.push(text);
    return i + 1;
  };
  const readCode = (from) => {
    let [depth, i] = [1, from];
    while (i < source.length) {
      if (source.startsWith('html`', i)) i = readTemplate(i + 5);
      else if (source[i] === '`') {
        for (i += 1; source[i] !== '`'; ) i = source.startsWith('${', i) ? readCode(i + 2) : i + 1;
        i += 1;
      } else {
        if (source[i] === '{') depth += 1;
        if (source[i] === '}' && (depth -= 1) === 0) return i + 1;
        i += 1;
      }
    }
    return i;
  };
  // Comments may hold anything.
  source = source.replace(/^\s*(\/\/|\/?\*).*$/gm, '');
  readCode(0);
  return found;
}

test('no view has a text of its own: all come from the catalogue', () => {
  const spoken = (template) => template
    .replace(/\b(aria-label|title|placeholder|alt)="([^"]*)"/g, ' >$2< ')
    // A template may be an attribute alone.
    .replace(/^(checked|disabled|open|selected|[\w-]+="[^"]*")$/, '')
    .replace(/<[^>]*>/gs, ' ').replaceAll('${}', ' ').match(/\p{L}{2,}/gu);
  assert.deepEqual(spoken(templates('x = html`<p title="No">${html`<b>${y}</b>`}</p>`')[1]), ['No']);
  for (const name of sources) {
    for (const template of templates(read(name))) assert.equal(spoken(template), null, `${name}: ${template}`);
  }
});

test('a language is the one that was chosen, else the first that the browser wants and the page has', () => {
  assert.equal(languageFor('es', ['en-GB']), 'es');
  assert.equal(languageFor(null, ['de-DE', 'es-MX', 'en']), 'es');
  assert.equal(languageFor('xx', ['de']), 'en');
  assert.equal(localeFor('en', ['de-DE', 'en-GB']), 'en-GB');
  assert.equal(localeFor('es', ['en-GB']), 'es-US');
});

test('places are filled in as they are, and a text that is not there is an error', async () => {
  await speak('en');
  assert.equal(t('states.request', { id: '$& <b>' }), 'Request $& <b>');
  assert.throws(() => t('no.such'), /no text for no.such/);
  assert.throws(() => tn('no.such', 1), /no text for no.such.other/);
});

test('no text has its name twice: the later one would win in silence', () => {
  for (const language of ['en', 'es']) {
    const names = [...read(`js/texts/${language}.js`).matchAll(/^ {2}'([^']+)':/gm)].map(([, name]) => name);
    assert.deepEqual(names.filter((name, at) => names.indexOf(name) !== at), []);
  }
});

test('what ends in a full stop of its own gets no second one, in a sentence of text or of markup', async () => {
  await speak('es');
  assert.equal(t('models.asked-at', { time: '11:14:33 a.m.' }), 'Consultado a las 11:14:33 a.m.');
  assert.equal(t('models.asked-at', { time: '11:14:33' }), 'Consultado a las 11:14:33.');
  assert.equal(th('models.asked-at', { time: html`<b>${'11 a.m.'}</b>` }).markup, 'Consultado a las <b>11 a.m.</b>');
  await speak('en');
});

test('in a sentence of markup every value is escaped that is no markup', () => {
  const { markup } = th('job.sent', { name: '<img>', share: html`<b>${'&'}</b>` });
  assert.equal(markup, '&lt;img&gt;: <b>&amp;</b> sent');
});
