// The customer's fields as the form shows them. Names, limits and words are the API's; a test compares both.

import { decimalSign, number } from './format.js';
import { t } from './language.js';

export const STATES = (
  'AK AL AR AZ CA CO CT DC DE FL GA HI IA ID IL IN KS KY LA MA MD ME MI MN MO MS MT NC ND NE NH NJ NM NV NY OH OK OR ' +
  'PA RI SC SD TN TX UT VA VT WA WI WV WY'
).split(' ');

const whole = (name, more) => ({ name, kind: 'whole', max: 10_000, required: true, ...more });
const choice = (name, options) => ({ name, kind: 'choice', options, required: true });
const yesNo = (name) => ({ name, kind: 'plan', options: ['yes', 'no'], required: true });
const minutes = (name) => ({ name, kind: 'decimal', max: 44_640, required: false, unit: 'minutes' });
const charge = (name) => ({ name, kind: 'decimal', max: 12_100, required: false, unit: 'dollars' });

/**
 * The label of each is the catalogue's `field.<name>`, its unit `unit.<unit>`, a group's title `fields.<name>`.
 * @typedef {{name: string, kind: 'whole'|'decimal'|'choice'|'plan'|'text', max?: number, maxLength?: number,
 *   options?: string[], required: boolean, unit?: string}} Field
 * @type {Array<{name: string, folded?: boolean, fields: Field[]}>}
 */
export const GROUPS = [
  {
    name: 'customer',
    fields: [
      { name: 'customerId', kind: 'text', maxLength: 64, required: false },
      whole('accountLength', { unit: 'days' }),
      choice('state', STATES),
      choice('areaCode', ['408', '415', '510']),
    ],
  },
  {
    name: 'plans',
    fields: [
      yesNo('internationalPlan'),
      yesNo('voiceMailPlan'),
      whole('numberOfVmailMessages'),
      whole('customerServiceCalls'),
    ],
  },
  {
    name: 'calls',
    fields: [whole('totalDayCalls'), whole('totalEveCalls'), whole('totalNightCalls'), whole('totalIntlCalls')],
  },
  {
    name: 'usage',
    folded: true,
    fields: [
      minutes('totalDayMinutes'),
      minutes('totalEveMinutes'),
      minutes('totalNightMinutes'),
      minutes('totalIntlMinutes'),
      charge('totalDayCharge'),
      charge('totalEveCharge'),
      charge('totalNightCharge'),
      charge('totalIntlCharge'),
    ],
  },
];

/** @type {Field[]} */
export const FIELDS = GROUPS.flatMap((group) => group.fields);

/** Customers to try the page with; the catalogue has a name for each, `example.<key>`. They are nobody's. */
export const EXAMPLES = {
  loyal: {
    accountLength: 128, state: 'CA', areaCode: '415', internationalPlan: 'no', voiceMailPlan: 'yes',
    numberOfVmailMessages: 25, customerServiceCalls: 1, totalDayCalls: 110, totalEveCalls: 85, totalNightCalls: 95,
    totalIntlCalls: 3,
  },
  risk: {
    accountLength: 74, state: 'NJ', areaCode: '510', internationalPlan: 'no', voiceMailPlan: 'no',
    numberOfVmailMessages: 0, customerServiceCalls: 5, totalDayCalls: 98, totalEveCalls: 92, totalNightCalls: 101,
    totalIntlCalls: 3, totalDayMinutes: 148.5, totalEveMinutes: 171.3, totalNightMinutes: 198.7, totalIntlMinutes: 9.8,
  },
  value: {
    accountLength: 164, state: 'TX', areaCode: '408', internationalPlan: 'yes', voiceMailPlan: 'yes',
    numberOfVmailMessages: 28, customerServiceCalls: 6, totalDayCalls: 115, totalEveCalls: 92, totalNightCalls: 101,
    totalIntlCalls: 4, totalDayMinutes: 165.8, totalEveMinutes: 196.1, totalNightMinutes: 198.7, totalIntlMinutes: 10.7,
  },
};

const PATTERNS = { whole: /^\d+$/, decimal: /^\d+([.]\d+)?$/ };

/** @param {Field} field */
export const label = (field) => t(`field.${field.name}`);

/**
 * A decimal with a point in the place of the sign that is used here. A point is taken for itself, but not where it may as
 * well stand between thousands.
 * @param {string} text as typed @returns {string} what is no number stays none
 */
function withPoint(text) {
  const sign = decimalSign();
  return sign !== '.' && /^\d{1,3}[.]\d{3}$/.test(text) ? '' : text.replace(sign, '.');
}

/**
 * What one field's text stands for, or what is wrong with it.
 * @param {Field} field
 * @param {string} text as typed
 * @param {boolean} [isUnreadable] the browser could make nothing of what was typed, and gives no text for it
 * @returns {{value?: string|number, error?: string}} neither for an optional field left empty
 */
export function readField(field, text, isUnreadable = false) {
  const typed = text.trim();
  if (typed === '' && !isUnreadable) {
    if (!field.required) return {};
    return { error: t(field.options ? 'form.choose' : 'form.enter', { label: label(field).toLowerCase() }) };
  }
  if (!(field.kind in PATTERNS)) return { value: typed };
  const plain = field.kind === 'decimal' ? withPoint(typed) : typed;
  if (isUnreadable || !PATTERNS[field.kind].test(plain)) return { error: t(`form.${field.kind}`, { example: number(180.5) }) };
  const value = Number(plain);
  return value > field.max ? { error: t('form.at-most', { max: number(field.max) }) } : { value };
}

/**
 * The customer that a filled-in form describes.
 * @param {FormData} data
 * @param {(name: string) => boolean} [isUnreadable] see `readField`
 * @returns {{customer: object, errors: Map<string, string>}} errors by field name, in the order of the form
 */
export function readCustomer(data, isUnreadable = () => false) {
  const customer = {};
  const errors = new Map();
  for (const field of FIELDS) {
    const { value, error } = readField(field, String(data.get(field.name) ?? ''), isUnreadable(field.name));
    if (error) errors.set(field.name, error);
    else if (value !== undefined) customer[field.name] = value;
  }
  return { customer, errors };
}

/** The fields of a customer in an address. An id is nobody's to share: it is left out. @param {object} customer */
export function toParams({ customerId: _, ...customer }) {
  return new URLSearchParams(Object.entries(customer).map(([name, value]) => [name, String(value)]));
}

/**
 * The texts for the form's fields that an address holds, without those that a field for numbers cannot show.
 * @param {URLSearchParams} params @returns {Record<string, string>}
 */
export function fromParams(params) {
  const fits = ({ name, kind }) => params.has(name) && (PATTERNS[kind]?.test(params.get(name)) ?? true);
  return Object.fromEntries(FIELDS.filter(fits).map(({ name }) => [name, params.get(name)]));
}

/**
 * The server's errors by field name, and those that belong to no field of the form.
 * @param {Array<{pointer: string, message: string}>} problems
 * @returns {{errors: Map<string, string>, others: string[]}}
 */
export function errorsByField(problems) {
  const errors = new Map();
  const others = [];
  for (const { pointer, message } of problems) {
    const name = pointer.replace(/^\//, '').replaceAll('~1', '/').replaceAll('~0', '~');
    if (FIELDS.some((field) => field.name === name)) errors.set(name, sentence(message));
    else others.push(sentence(message));
  }
  return { errors, others };
}

function sentence(message) {
  const text = message.charAt(0).toUpperCase() + message.slice(1);
  return text.endsWith('.') ? text : `${text}.`;
}
