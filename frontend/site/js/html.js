// Text enters the page only through here: every value is escaped unless it came from `html` itself.

const ESCAPES = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' };

/** Markup whose values have been escaped. */
export class SafeHtml {
  /** @param {string} markup */
  constructor(markup) {
    this.markup = markup;
  }
}

/** @param {unknown} value @returns {string} */
function escaped(value) {
  if (value instanceof SafeHtml) return value.markup;
  if (Array.isArray(value)) return value.map(escaped).join('');
  if (value === null || value === undefined || value === false) return '';
  return String(value).replace(/[&<>"']/g, (character) => ESCAPES[character]);
}

/**
 * A template whose values are escaped; arrays are joined; null, undefined and false are left out.
 * @param {TemplateStringsArray} strings
 * @param {...unknown} values
 * @returns {SafeHtml}
 */
export function html(strings, ...values) {
  return new SafeHtml(strings.reduce((markup, string, index) => markup + escaped(values[index - 1]) + string));
}

/**
 * Replace what an element holds.
 * @param {Element} element
 * @param {SafeHtml} content
 */
export function draw(element, content) {
  const template = document.createElement('template');
  template.innerHTML = content.markup;
  element.replaceChildren(template.content);
}

/**
 * Draw links or buttons anew; whoever stood on one stands on the one in its place.
 * @param {Element} element
 * @param {SafeHtml} content
 */
export function redraw(element, content) {
  const stops = () => [...element.querySelectorAll('a, button')];
  const at = stops().indexOf(document.activeElement);
  draw(element, content);
  stops()[at]?.focus();
}

/** Stand on the heading of what an element holds now. @param {Element} element */
export function standOnHeading(element) {
  const heading = element.querySelector('h1');
  heading?.setAttribute('tabindex', '-1');
  heading?.focus({ preventScroll: true });
}
