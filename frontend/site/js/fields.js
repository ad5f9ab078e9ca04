// The customer's fields as the form shows them. Names, limits and words are the API's; a test compares both.

const STATES = (
  'AK AL AR AZ CA CO CT DC DE FL GA HI IA ID IL IN KS KY LA MA MD ME MI MN MO MS MT NC ND NE NH NJ NM NV NY OH OK OR ' +
  'PA RI SC SD TN TX UT VA VT WA WI WV WY'
).split(' ');

const whole = (name, label, more) => ({ name, label, kind: 'whole', max: 10_000, required: true, ...more });
const choice = (name, label, options) => ({ name, label, kind: 'choice', options, required: true });
const yesNo = (name, label) => ({ name, label, kind: 'plan', options: ['yes', 'no'], required: true });
const minutes = (name, label) => ({ name, label, kind: 'decimal', max: 44_640, required: false, unit: 'minutes' });
const charge = (name, label) => ({ name, label, kind: 'decimal', max: 12_100, required: false, unit: 'US dollars' });

/**
 * @typedef {{name: string, label: string, kind: 'whole'|'decimal'|'choice'|'plan'|'text', max?: number, maxLength?: number,
 *   options?: string[], required: boolean, unit?: string}} Field
 * @type {Array<{title: string, folded?: boolean, hint?: string, fields: Field[]}>}
 */
export const GROUPS = [
  {
    title: 'Customer',
    fields: [
      { name: 'customerId', label: 'Customer id (optional)', kind: 'text', maxLength: 64, required: false },
      whole('accountLength', 'Account length', { unit: 'days' }),
      choice('state', 'State', STATES),
      choice('areaCode', 'Area code', ['408', '415', '510']),
    ],
  },
  {
    title: 'Plans',
    fields: [
      yesNo('internationalPlan', 'International plan'),
      yesNo('voiceMailPlan', 'Voice mail plan'),
      whole('numberOfVmailMessages', 'Voice mail messages'),
    ],
  },
  {
    title: 'Calls',
    fields: [
      whole('totalDayCalls', 'Day calls'),
      whole('totalEveCalls', 'Evening calls'),
      whole('totalNightCalls', 'Night calls'),
      whole('totalIntlCalls', 'International calls'),
      whole('customerServiceCalls', 'Customer service calls'),
    ],
  },
  {
    title: 'Usage (optional, makes the answer much sharper)',
    folded: true,
    hint: 'Give minutes or charges for all four periods; where both are given, the minutes count.',
    fields: [
      minutes('totalDayMinutes', 'Day minutes'),
      charge('totalDayCharge', 'Day charge'),
      minutes('totalEveMinutes', 'Evening minutes'),
      charge('totalEveCharge', 'Evening charge'),
      minutes('totalNightMinutes', 'Night minutes'),
      charge('totalNightCharge', 'Night charge'),
      minutes('totalIntlMinutes', 'International minutes'),
      charge('totalIntlCharge', 'International charge'),
    ],
  },
];

/** @type {Field[]} */
export const FIELDS = GROUPS.flatMap((group) => group.fields);

/** A customer to try the page with. */
export const EXAMPLE = {
  accountLength: 128,
  state: 'CA',
  areaCode: '415',
  internationalPlan: 'no',
  voiceMailPlan: 'yes',
  numberOfVmailMessages: 25,
  totalDayCalls: 110,
  totalEveCalls: 85,
  totalNightCalls: 95,
  totalIntlCalls: 3,
  customerServiceCalls: 1,
};

const PATTERNS = { whole: /^\d+$/, decimal: /^\d+([.]\d+)?$/ };
const LIMIT = new Intl.NumberFormat('en-US');

/**
 * What one field's text stands for, or what is wrong with it.
 * @param {Field} field
 * @param {string} text as typed
 * @returns {{value?: string|number, error?: string}} neither for an optional field left empty
 */
export function readField(field, text) {
  const typed = text.trim();
  if (typed === '') {
    if (!field.required) return {};
    return { error: field.options ? `Choose the ${field.label.toLowerCase()}.` : `Enter the ${field.label.toLowerCase()}.` };
  }
  if (!(field.kind in PATTERNS)) return { value: typed };
  if (!PATTERNS[field.kind].test(typed)) {
    return { error: field.kind === 'whole' ? 'Enter a whole number, 0 or more.' : 'Enter a number, 0 or more, such as 180.5.' };
  }
  const value = Number(typed);
  return value > field.max ? { error: `Enter ${LIMIT.format(field.max)} at most.` } : { value };
}

/**
 * The customer that a filled-in form describes.
 * @param {FormData} data
 * @returns {{customer: object, errors: Map<string, string>}} errors by field name, in the order of the form
 */
export function readCustomer(data) {
  const customer = {};
  const errors = new Map();
  for (const field of FIELDS) {
    const { value, error } = readField(field, String(data.get(field.name) ?? ''));
    if (error) errors.set(field.name, error);
    else if (value !== undefined) customer[field.name] = value;
  }
  return { customer, errors };
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
