// One customer in; risk, value, reasons and advice out.

import { ApiError, predict } from '../api.js';
import { customerIn, drawForm, fillIn, showErrors, showFieldError, typedIn, unreadableIn } from '../components/customer-form.js';
import { answerCard, answerText, busyCard, emptyCard, errorCard } from '../components/result-card.js';
import { tierBadge } from '../components/tier.js';
import { startWhatIf } from '../components/what-if.js';
import { copy } from '../copying.js';
import { EXAMPLES, FIELDS, errorsByField, fromParams, readField, toParams } from '../fields.js';
import { decimalSign, percent } from '../format.js';
import { draw, html } from '../html.js';
import { t } from '../language.js';
import { answerFor, keepAnswer, recentAnswers } from '../recent.js';
import { whenSignedIn } from '../store.js';

const CARDS = {
  empty: () => emptyCard(),
  busy: () => busyCard(),
  answer: ({ answer }) => answerCard(answer),
  error: ({ error, others }) => errorCard(error, others),
};

function recentList() {
  const answers = recentAnswers();
  if (answers.length === 0) return html``;
  return html`<h2 id="recent-heading">${t('recent.title')}</h2><ul aria-labelledby="recent-heading">
    ${answers.map(({ customer, prediction }, index) => html`<li><button type="button" data-recent="${index}">
      <span>${customer.customerId ?? t('recent.nameless', { state: customer.state, days: customer.accountLength })}</span>
      ${tierBadge(prediction.churn_risk)} <span class="quiet">${percent(prediction.churn_probability)}</span></button></li>`)}
    </ul>`;
}

/** @param {import('../views.js').Place} place */
export function show({ root, store, params, signal, write }) {
  draw(
    root,
    html`<div class="analyze">
      <section class="card customer" aria-labelledby="customer-heading">
        <h1 id="customer-heading">${t('analyze.title')}</h1>
        <form id="customer-form" novalidate></form>
      </section>
      <div class="beside">
        <section id="result" class="card result" aria-live="polite" aria-labelledby="result-heading"></section>
        <section id="recent" class="card recent"></section>
      </div>
    </div>`,
  );
  const [form, result, recent] = ['#customer-form', '#result', '#recent'].map((each) => root.querySelector(each));
  drawForm(form);
  const button = form.querySelector('[type="submit"]');
  let state = { kind: 'empty' };
  // A newer question makes the answer to an older one worthless.
  let current = new AbortController();
  let address = '';

  function go(wanted) {
    address = wanted.toString();
    write(wanted, { isStep: true });
  }

  function drawRecent() {
    draw(recent, recentList());
    recent.hidden = !recent.firstElementChild;
  }

  function set(next) {
    current.abort();
    current = new AbortController();
    state = next;
    draw(result, CARDS[state.kind](state));
    result.classList.remove('is-stale');
    button.toggleAttribute('aria-busy', state.kind === 'busy');
    button.disabled = state.kind === 'busy';
    drawRecent();
    if (state.kind === 'answer') {
      startWhatIf(result.querySelector('#what-if'), state.answer, AbortSignal.any([current.signal, signal]));
    }
  }

  async function ask(customer) {
    set({ kind: 'busy' });
    const asked = JSON.stringify(typedIn(form));
    const mine = AbortSignal.any([current.signal, signal]);
    let outcome;
    try {
      outcome = { kind: 'answer', answer: { ...(await predict(customer)), customer, at: Date.now() } };
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      if (mine.aborted) return;
      const { errors, others } = errorsByField(error.fields);
      // For want of a key: the sign-in form stands here now, and what was typed is asked again after it.
      outcome = error.status === 401 ? { kind: 'empty', again: true } : { kind: 'error', error, others };
      showErrors(form, errors, true);
    }
    if (mine.aborted) return;
    if (outcome.kind === 'answer') {
      keepAnswer(outcome.answer);
      go(toParams(customer));
    }
    set(outcome);
    // Whoever goes on typing meanwhile sees that this is not about what is there now.
    result.classList.toggle('is-stale', outcome.kind === 'answer' && JSON.stringify(typedIn(form)) !== asked);
    if (!form.querySelector('[aria-invalid]')) leadTo(result);
  }

  /** What an address asks for: an answer of this session, or a form to be sent. */
  function update(wanted) {
    address = wanted.toString();
    const answer = answerFor(wanted);
    fillIn(form, answer?.customer ?? fromParams(wanted));
    set(answer ? { kind: 'answer', answer } : { kind: 'empty' });
  }

  form.addEventListener('submit', (event) => {
    event.preventDefault();
    const { customer, errors } = customerIn(form);
    showErrors(form, errors);
    if (errors.size === 0) ask(customer);
  });
  form.addEventListener('input', ({ target }) => {
    result.classList.toggle('is-stale', state.kind === 'answer');
    const field = FIELDS.find(({ name }) => name === target.name);
    const text = field && String(new FormData(form).get(field.name) ?? '');
    // A complaint goes as soon as it is no longer right; a new one waits for the next attempt.
    if (field && !readField(field, text, unreadableIn(form)(field.name)).error) showFieldError(form, field);
  });
  form.addEventListener('reset', () => {
    showErrors(form, new Map());
    set({ kind: 'empty' });
    go(new URLSearchParams());
  });
  form.addEventListener('click', ({ target }) => {
    const example = target.closest('[data-example]')?.dataset.example;
    if (!example) return;
    fillIn(form, EXAMPLES[example]);
    result.classList.toggle('is-stale', state.kind === 'answer');
  });
  recent.addEventListener('click', ({ target }) => {
    const chosen = target.closest('[data-recent]');
    if (!chosen) return;
    const answer = recentAnswers()[Number(chosen.dataset.recent)];
    // The last one looked at: an address has no id, and stands for the newest of those who are alike but for it.
    keepAnswer(answer);
    fillIn(form, answer.customer);
    go(toParams(answer.customer));
    set({ kind: 'answer', answer });
    leadTo(result);
  });
  result.addEventListener('click', async ({ target }) => {
    const action = target.closest('[data-action]')?.dataset.action;
    if (action === 'print') print();
    if (action !== 'copy') return;
    const told = result.querySelector('[data-told]');
    told.textContent = t((await copy(answerText(state.answer))) ? 'result.copied' : 'result.not-copied');
  });
  store.addEventListener('change', ({ detail }) => detail.includes('forgottenAt') && drawRecent(), { signal });
  whenSignedIn(store, () => state.again && form.requestSubmit(), signal);
  // What was typed is there again after a look at another view, or in another language.
  const sign = decimalSign();
  signal.addEventListener('abort', () => store.set({ draft: { address, sign, texts: typedIn(form) } }));

  update(params);
  const { draft } = store.state;
  if (draft?.address === address) {
    const asked = JSON.stringify(typedIn(form));
    fillIn(form, draft.texts, draft.sign);
    result.classList.toggle('is-stale', state.kind === 'answer' && JSON.stringify(typedIn(form)) !== asked);
  }
  return { update };
}

function leadTo(result) {
  result.querySelector('#result-heading').focus({ preventScroll: true });
  const { top, bottom } = result.getBoundingClientRect();
  if (top < 0 || bottom > window.innerHeight) result.scrollIntoView({ block: 'start' });
}
