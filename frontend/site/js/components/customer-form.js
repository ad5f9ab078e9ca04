// The form: drawn once from the list of fields; errors are written beside the field they belong to.

import { FIELDS, GROUPS } from '../fields.js';
import { draw, html } from '../html.js';

const errorId = (field) => `${field.name}-error`;

function choices(field) {
  return html`<fieldset>
    <legend>${field.label}</legend>
    <div class="choices">
      ${field.options.map(
        (option) => html`<label><input type="radio" name="${field.name}" value="${option}"
          aria-describedby="${errorId(field)}"> ${option === 'yes' ? 'Yes' : 'No'}</label>`,
      )}
    </div>
  </fieldset>`;
}

function select(field) {
  return html`<label for="${field.name}">${field.label}</label>
    <select id="${field.name}" name="${field.name}" aria-describedby="${errorId(field)}">
      <option value="">Choose…</option>
      ${field.options.map((option) => html`<option>${option}</option>`)}
    </select>`;
}

function input(field) {
  const mode = { whole: 'numeric', decimal: 'decimal', text: 'text' }[field.kind];
  return html`<label for="${field.name}">${field.label}${field.unit && html` <span class="quiet">${field.unit}</span>`}</label>
    <input id="${field.name}" name="${field.name}" type="text" inputmode="${mode}" autocomplete="off" spellcheck="false"
      ${field.maxLength && html`maxlength="${field.maxLength}"`} aria-describedby="${errorId(field)}">`;
}

const CONTROLS = { choice: select, plan: choices, whole: input, decimal: input, text: input };

function control(field) {
  return html`<div class="field">${CONTROLS[field.kind](field)}<small class="field-error" id="${errorId(field)}"></small></div>`;
}

function group({ title, folded, hint, fields }) {
  const controls = html`${hint && html`<p class="quiet">${hint}</p>`}<div class="fields">${fields.map(control)}</div>`;
  return folded
    ? html`<details class="field-group"><summary>${title}</summary>${controls}</details>`
    : html`<fieldset class="field-group"><legend>${title}</legend>${controls}</fieldset>`;
}

/** @param {HTMLFormElement} form */
export function drawForm(form) {
  draw(
    form,
    html`${GROUPS.map(group)}
      <div class="actions">
        <button type="submit">Predict</button>
        <button type="button" class="secondary outline" data-action="example">Fill in an example</button>
        <button type="reset" class="secondary outline">Clear</button>
      </div>`,
  );
}

/**
 * @param {HTMLFormElement} form
 * @param {object} customer values by field name
 */
export function fillIn(form, customer) {
  form.reset();
  for (const [name, value] of Object.entries(customer)) form.elements.namedItem(name).value = String(value);
}

function controlsOf(form, field) {
  return [...form.querySelectorAll(`[name="${field.name}"]`)];
}

/**
 * Write one field's error beside it; an empty one takes it away.
 * @param {HTMLFormElement} form
 * @param {import('../fields.js').Field} field
 * @param {string} [message]
 */
export function showFieldError(form, field, message = '') {
  form.querySelector(`#${errorId(field)}`).textContent = message;
  for (const element of controlsOf(form, field)) {
    if (message) element.setAttribute('aria-invalid', 'true');
    else element.removeAttribute('aria-invalid');
  }
}

/**
 * Write all errors, and lead to the first.
 * @param {HTMLFormElement} form
 * @param {Map<string, string>} errors by field name
 */
export function showErrors(form, errors) {
  for (const field of FIELDS) showFieldError(form, field, errors.get(field.name));
  const first = FIELDS.find((field) => errors.has(field.name));
  if (!first) return;
  const [element] = controlsOf(form, first);
  element.closest('details')?.setAttribute('open', '');
  element.focus();
}
