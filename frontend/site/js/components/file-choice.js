// Which file is to be scored, and which of its columns is what.

import { FIELDS, label } from '../fields.js';
import { likeliest, toBeMapped } from '../headers.js';
import { html } from '../html.js';
import { t, tn } from '../language.js';

/** A file to try it with. */
export const SAMPLE = 'samples/customers.csv';

const TYPES = {
  csv: 'text/csv', tsv: 'text/csv', txt: 'text/csv', ndjson: 'application/x-ndjson', jsonl: 'application/x-ndjson',
  parquet: 'application/vnd.apache.parquet',
};

/** The media type of a file by the end of its name; undefined where it is none that can be scored. @param {string} name */
export const typeOf = (name) => TYPES[name.split('.').at(-1).toLowerCase()];

/** The place to drop a file. */
export function dropZone() {
  return html`<div class="drop-zone" data-drop>
    <svg aria-hidden="true" viewBox="0 0 24 24"><path d="M12 16V4m0 0L7 9m5-5 5 5M4 15v4a1 1 0 0 0 1 1h14a1 1 0 0 0 1-1v-4"/></svg>
    <h2 id="job-heading" tabindex="-1">${t('file.drop')}</h2>
    <p class="quiet" id="file-kinds">${t('file.kinds')}</p>
    <p class="actions"><label class="file-button"><span>${t('file.choose')}</span>
      <input type="file" name="file" accept="${Object.keys(TYPES).map((ending) => `.${ending}`).join(',')}"
        aria-describedby="file-kinds"></label>
      <button type="button" class="secondary outline" data-action="sample">${t('file.try-sample')}</button></p>
    <p class="quiet">${t('file.sample-is')} <a href="${SAMPLE}" download>${t('file.get-sample')}</a></p>
  </div>`;
}

function choice(field, headers, chosen) {
  const guess = chosen ? chosen[field.name] : likeliest(field.name, headers);
  return html`<div class="mapped"><label for="map-${field.name}">${label(field)}</label>
    <select id="map-${field.name}" name="${field.name}" ${field.required && html`aria-required="true"`}
      aria-describedby="map-${field.name}-error">
      <option value="">${t(field.required ? 'map.choose' : 'map.none')}</option>
      ${headers.map((header) => html`<option value="${header}" ${header === guess && html`selected`}>${header}</option>`)}
    </select><small class="field-error" id="map-${field.name}-error"></small></div>`;
}

/**
 * Asks which column stands for which field.
 * @param {string} name of the file @param {string[]} headers
 * @param {Record<string, string>} [chosen] columns by field, where some were chosen already
 */
export function mappingForm(name, headers, chosen) {
  const { missing, likely, optional, free } = toBeMapped(headers);
  const choices = (names) => FIELDS.filter((field) => names.includes(field.name)).map((field) => choice(field, free, chosen));
  return html`<form class="mapping" novalidate><h2 id="job-heading" tabindex="-1">${t('map.title')}</h2>
    <p>${missing.length > 0 ? tn('map.text', missing.length, { name }) : t('map.not-needed', { name })}</p>
    <div class="mapped-fields">${choices([...missing, ...likely])}</div>
    ${optional.length > 0 && html`<details class="more" ${optional.some((each) => chosen?.[each]) && html`open`}>
      <summary>${t('map.optional')}</summary>
      <div class="mapped-fields">${choices(optional)}</div></details>`}
    <div class="actions"><button type="submit">${t('map.do')}</button>
      <button type="button" class="secondary outline" data-action="back">${t('job.other-file')}</button></div></form>`;
}

/**
 * What a filled-in form of columns says.
 * @param {FormData} data @param {string[]} headers
 * @returns {{mapping: Record<string, string>, errors: Map<string, string>}} fields by header; errors by field
 */
export function readMapping(data, headers) {
  const { missing } = toBeMapped(headers);
  // A header may be any text, also the name of something that every object has.
  const mapping = new Map();
  const errors = new Map(missing.filter((name) => !data.get(name)).map((name) => [name, t('map.choose-one')]));
  for (const [field, header] of data) {
    if (header === '') continue;
    if (mapping.has(header)) errors.set(field, t('map.twice'));
    else mapping.set(header, field);
  }
  return { mapping: Object.fromEntries(mapping), errors };
}
