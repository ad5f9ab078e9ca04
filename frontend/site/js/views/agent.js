// The view of a customer-service agent: one customer in, risk, value and advice out.

import { ApiError, predict } from '../api.js';
import { drawForm, fillIn, showErrors, showFieldError } from '../components/customer-form.js';
import { answerCard, busyCard, emptyCard, errorCard } from '../components/result-card.js';
import { EXAMPLE, FIELDS, errorsByField, readCustomer, readField } from '../fields.js';
import { draw } from '../html.js';

const CARDS = {
  empty: () => emptyCard(),
  busy: () => busyCard(),
  answer: ({ answer }) => answerCard(answer),
  error: ({ error, others }) => errorCard(error, others),
};

/**
 * @param {import('../store.js').Store} store its member `result` is this view's
 * @param {{form: HTMLFormElement, result: HTMLElement}} elements
 */
export function startAgentView(store, { form, result }) {
  drawForm(form);
  const button = form.querySelector('[type="submit"]');
  // A newer question makes the answer to an older one worthless.
  let asked = 0;

  store.watch(['result'], (state) => {
    draw(result, CARDS[state.result.kind](state.result));
    result.classList.remove('is-stale');
    button.toggleAttribute('aria-busy', state.result.kind === 'busy');
    button.disabled = state.result.kind === 'busy';
  });

  async function ask(customer) {
    const mine = (asked += 1);
    store.set({ result: { kind: 'busy' } });
    let outcome;
    try {
      outcome = { kind: 'answer', answer: await predict(customer) };
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      const { errors, others } = errorsByField(error.fields);
      // For want of a key: the sign-in form stands here now, and what was typed is asked again after it.
      outcome = error.status === 401 ? { kind: 'empty' } : { kind: 'error', error, others };
      if (mine === asked) showErrors(form, errors);
    }
    if (mine !== asked) return;
    store.set({ result: outcome });
    if (!form.querySelector('[aria-invalid]')) leadToResult(result);
  }

  form.addEventListener('submit', (event) => {
    event.preventDefault();
    const { customer, errors } = readCustomer(new FormData(form));
    showErrors(form, errors);
    if (errors.size === 0) ask(customer);
  });
  form.addEventListener('input', (event) => {
    result.classList.toggle('is-stale', store.state.result.kind === 'answer');
    const field = FIELDS.find(({ name }) => name === event.target.name);
    // A complaint goes as soon as it is no longer right; a new one waits for the next attempt.
    if (field && !readField(field, String(new FormData(form).get(field.name) ?? '')).error) showFieldError(form, field);
  });
  form.addEventListener('reset', () => {
    asked += 1;
    showErrors(form, new Map());
    store.set({ result: { kind: 'empty' } });
  });
  form.querySelector('[data-action="example"]').addEventListener('click', () => fillIn(form, EXAMPLE));
}

function leadToResult(result) {
  result.querySelector('#result-heading').focus({ preventScroll: true });
  const { top, bottom } = result.getBoundingClientRect();
  if (top < 0 || bottom > window.innerHeight) result.scrollIntoView({ block: 'start' });
}
