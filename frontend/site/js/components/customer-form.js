// The form: drawn once from the list of fields; errors are written beside the field they belong to.

import { EXAMPLES, FIELDS, GROUPS, label, readCustomer } from '../fields.js';
import { decimalSign, number } from '../format.js';
import { draw, html } from '../html.js';
import { t } from '../language.js';

const errorId = (field) => `${field.name}-error`;

function labelText(field) {
  return html`${label(field)} ${field.unit && html`<span class="quiet">${t(`unit.${field.unit}`)}</span>`}`;
}

function choices(field) {
  return html`<span id="${field.name}-label" class="label">${labelText(field)}</span>
    <div class="choices" role="radiogroup" aria-labelledby="${field.name}-label" aria-describedby="${errorId(field)}">
      ${field.options.map(
        (option) => html`<label><input type="radio" name="${field.name}" value="${option}"
          aria-describedby="${errorId(field)}"><span>${t(`form.${option}`)}</span></label>`,
      )}
    </div>`;
}

function select(field) {
  return html`<label for="${field.name}">${labelText(field)}</label>
    <select id="${field.name}" name="${field.name}" aria-describedby="${errorId(field)}" aria-required="true">
      <option value="">${t('form.choose-one')}</option>
      ${field.options.map((option) => html`<option>${option}</option>`)}
    </select>`;
}

function whole(field) {
  return html`<label for="${field.name}">${labelText(field)}</label>
    <input id="${field.name}" name="${field.name}" type="number" min="0" max="${field.max}" step="1" inputmode="numeric"
      autocomplete="off" aria-describedby="${errorId(field)}" ${field.required && html`aria-required="true"`}>`;
}

// Not a field for numbers, which leaves out without a word what is no decimal sign in the browser's own language.
function decimal(field) {
  return html`<label for="${field.name}">${labelText(field)}</label>
    <input id="${field.name}" name="${field.name}" type="text" inputmode="decimal" autocomplete="off"
      aria-describedby="${errorId(field)}">`;
}

function text(field) {
  return html`<label for="${field.name}">${labelText(field)}</label>
    <input id="${field.name}" name="${field.name}" type="text" autocomplete="off" spellcheck="false" autocapitalize="off"
      maxlength="${field.maxLength}" aria-describedby="${errorId(field)}">`;
}

const CONTROLS = { choice: select, plan: choices, whole, decimal, text };

function control(field) {
  return html`<div class="field">${CONTROLS[field.kind](field)}<small class="field-error" id="${errorId(field)}"></small></div>`;
}

function group({ name, folded, fields }) {
  const controls = html`<div class="fields">${fields.map(control)}</div>`;
  return folded
    ? html`<details class="field-group"><summary>${t(`fields.${name}`)}</summary>
        <p class="quiet">${t(`fields.${name}-hint`)}</p>${controls}</details>`
    : html`<fieldset class="field-group"><legend>${t(`fields.${name}`)}</legend>${controls}</fieldset>`;
}

/** @param {HTMLFormElement} form */
export function drawForm(form) {
  draw(
    form,
    html`<p class="examples"><span id="examples-label" class="quiet">${t('form.examples')}</span>
        ${Object.keys(EXAMPLES).map(
          (key) => html`<button type="button" class="chip" data-example="${key}" aria-describedby="examples-label">
            ${t(`example.${key}`)}</button>`,
        )}</p>
      ${GROUPS.map(group)}
      <div class="actions">
        <button type="submit">${t('form.predict')}</button>
        <button type="reset" class="secondary outline">${t('form.clear')}</button>
      </div>`,
  );
}

/**
 * @param {HTMLFormElement} form
 * @param {object} customer values by field name
 * @param {string} [sign] the decimal sign in them, which becomes the one that is used here
 */
export function fillIn(form, customer, sign = '.') {
  for (const field of FIELDS) {
    const [first] = controlsOf(form, field);
    const text = String(customer[field.name] ?? '');
    const value = field.kind === 'decimal' ? text.replace(sign, decimalSign()) : text;
    if (field.kind === 'plan') for (const each of controlsOf(form, field)) each.checked = each.value === value;
    else first.value = value;
    showFieldError(form, field);
    if (value) first.closest('details')?.setAttribute('open', '');
  }
}

/** Texts by field name, as far as they are filled in. @param {HTMLFormElement} form */
export function typedIn(form) {
  return Object.fromEntries([...new FormData(form)].filter(([, value]) => value !== ''));
}

/** A number field gives no text for what it cannot read. @param {HTMLFormElement} form */
export const unreadableIn = (form) => (name) => form.elements.namedItem(name)?.validity?.badInput ?? false;

/** @param {HTMLFormElement} form */
export const customerIn = (form) => readCustomer(new FormData(form), unreadableIn(form));

function controlsOf(form, field) {
  return [...form.querySelectorAll(`[name="${field.name}"]`)];
}

/**
 * Write one field's error beside it; an empty one takes it away.
 * @param {HTMLFormElement} form
 * @param {import('../fields.js').Field} field
 * @param {string} [message]
 * @param {boolean} [isByServer] in the server's own words, which are English
 */
export function showFieldError(form, field, message = '', isByServer = false) {
  const place = form.querySelector(`#${errorId(field)}`);
  place.textContent = message;
  place.toggleAttribute('lang', isByServer);
  if (isByServer) place.lang = 'en';
  for (const element of controlsOf(form, field)) {
    if (message) element.setAttribute('aria-invalid', 'true');
    else element.removeAttribute('aria-invalid');
  }
}

/**
 * Write all errors, and lead to the first.
 * @param {HTMLFormElement} form
 * @param {Map<string, string>} errors by field name
 * @param {boolean} [isByServer] see `showFieldError`
 */
export function showErrors(form, errors, isByServer = false) {
  for (const field of FIELDS) showFieldError(form, field, errors.get(field.name), isByServer && errors.has(field.name));
  const first = FIELDS.find((field) => errors.has(field.name));
  if (!first) return;
  const [element] = controlsOf(form, first);
  element.closest('details')?.setAttribute('open', '');
  element.focus();
}

/** What is written in the form, for paper. @param {object} customer values by field name */
export function customerList(customer) {
  const shown = (field, value) => (field.kind === 'plan' ? t(`form.${value}`) : typeof value === 'number' ? number(value) : value);
  return html`<dl class="customer-list">${FIELDS.filter(({ name }) => customer[name] !== undefined).map(
    (field) => html`<div><dt>${label(field)}</dt><dd>${shown(field, customer[field.name])}</dd></div>`,
  )}</dl>`;
}
