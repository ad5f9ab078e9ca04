// A list of customers in; the same list ranked by value at risk out.

import {
  ApiError, endJob, followJob, isUnderWay, jobErrors, jobExport, jobRows, jobSummary, jobs, sampleFile,
} from '../api.js';
import { SAMPLE, dropZone, mappingForm, readMapping, typeOf } from '../components/file-choice.js';
import { figures, scoring, sending, trouble } from '../components/job-progress.js';
import {
  customerTable, errorTable, faultList, filterForm, filtersIn, jobList, noCustomers, removeButton, resultHead, summaryTiles,
} from '../components/job-result.js';
import { failure, loading } from '../components/states.js';
import { beginningOf } from '../file-beginning.js';
import { fileName } from '../file-names.js';
import { number, percent } from '../format.js';
import { toBeMapped } from '../headers.js';
import { draw, html } from '../html.js';
import { t, tn } from '../language.js';
import { address } from '../router.js';
import { whenSignedIn } from '../store.js';
import { Upload } from '../upload.js';

const ROWS = 50;
const FAULTS = 50;

/** @param {import('../views.js').Place} place */
export function show({ root, store, params, signal, write }) {
  draw(
    root,
    html`<div class="customers">
      <header class="view-head"><h1>${t('customers.title')}</h1><p class="quiet">${t('customers.text')}</p></header>
      <p class="visually-hidden" role="status" data-said></p>
      <section class="card job" aria-labelledby="job-heading"></section>
      <section class="card earlier" hidden></section></div>`,
  );
  const [said, card, earlier] = ['[data-said]', '.job', '.earlier'].map((each) => root.querySelector(each));
  // What is going on ends with whatever comes next.
  let current = new AbortController();
  let state = {};
  let shown = { job: null, filters: {}, offset: 0 };

  // Whoever was in the card stays in it, however often it is drawn before there is something to stand on.
  let wasInside = false;
  function drawCard(content, standOn) {
    wasInside ||= card.contains(document.activeElement);
    draw(card, content);
    const isElsewhere = document.activeElement !== document.body;
    if (standOn && wasInside && !isElsewhere) card.querySelector(standOn).focus();
    if (standOn) wasInside = false;
  }

  function begin() {
    current.abort();
    current = new AbortController();
    return AbortSignal.any([current.signal, signal]);
  }

  const toAddress = () => ({ job: shown.job, ...shown.filters, ...(shown.offset > 0 && { from: String(shown.offset) }) });

  /** @param {{again?: () => void, ended?: string}} [more] what can be tried again; the id of a job that has ended */
  function fail(error, mine, { again, ended } = {}) {
    if (mine.aborted) return;
    if (!(error instanceof ApiError)) throw error;
    state = { kind: 'failed', again };
    drawCard(failure(error, { action: html`<div class="actions">
      ${again && html`<button type="button" data-action="again">${t('states.again')}</button>`}
      <button type="button" class="secondary outline" data-action="back">${t('job.other-file')}</button>
      ${ended && removeButton(ended)}</div>` }), 'button');
  }

  async function start() {
    const mine = begin();
    state = { kind: 'start' };
    store.set({ upload: null });
    shown = { job: null, filters: {}, offset: 0 };
    drawCard(dropZone(), '#job-heading');
    earlier.setAttribute('aria-busy', 'true');
    try {
      const found = await jobs(mine);
      if (mine.aborted) return;
      earlier.hidden = found.length === 0;
      draw(earlier, jobList(found, (id) => address('customers', { job: id }), fileName));
    } catch (error) {
      // Without earlier files a new one can be sent all the same.
      if (!(error instanceof ApiError) && !mine.aborted) throw error;
    } finally {
      // Where another has begun, it is that one's.
      if (!mine.aborted) earlier.removeAttribute('aria-busy');
    }
  }

  function hideEarlier() {
    earlier.hidden = true;
    earlier.removeAttribute('aria-busy');
  }

  async function take(file) {
    const mine = begin();
    store.set({ upload: null });
    hideEarlier();
    const type = typeOf(file.name);
    const { headers, fault } = type ? await beginningOf(file, type) : { fault: 'other-kind' };
    if (mine.aborted) return undefined;
    if (fault) return fail(new ApiError(t(`file.${fault}-text`), { title: t(`file.${fault}`) }), mine);
    const { missing, likely } = toBeMapped(headers);
    // What cannot be read here the API can, or says why not.
    if (headers.length === 0 || missing.length + likely.length === 0) return send(file, type, {});
    askColumns({ file, type, headers });
    card.querySelector('#job-heading').focus();
    return undefined;
  }

  /** @param {{file: File, type: string, headers: string[], chosen?: Record<string, string>}} what chosen: columns by field */
  function askColumns({ chosen, ...what }) {
    hideEarlier();
    state = { kind: 'mapping', ...what };
    draw(card, mappingForm(what.file.name, what.headers, chosen));
  }

  function send(file, type, mapping) {
    store.set({ upload: new Upload(file, { type, mapping }) });
    attend(store.state.upload);
    card.querySelector('#job-heading').focus();
  }

  /**
   * Show how far a file is that is being sent, until it is a job. One that could not be sent is kept, to try again.
   * @param {Upload} upload
   */
  async function attend(upload) {
    const mine = begin();
    const { file: { name }, how } = upload;
    hideEarlier();
    state = { kind: 'sending' };
    draw(card, sending(name, upload.share));
    upload.addEventListener('sent', () => {
      card.querySelector('progress').value = upload.share;
      card.querySelector('[data-figures]').textContent = t('job.sent', { name, share: percent(upload.share) });
    }, { signal: mine });
    try {
      const job = await upload.job;
      if (mine.aborted) return;
      store.set({ upload: null });
      shown = { job: job.id, filters: {}, offset: 0 };
      write(toAddress(), { isStep: true });
      follow(job.id);
    } catch (error) {
      fail(error, mine, { again: () => send(upload.file, how.type, how.mapping) });
    }
  }

  function follow(id) {
    const mine = begin();
    hideEarlier();
    state = { kind: 'following', id };
    drawCard(loading());
    followJob(id, {
      tell: (job) => hear(job, mine),
      lost: () => {
        const place = card.querySelector('[data-trouble]');
        if (place) tellTrouble(t('job.lost'));
        else drawCard(loading(t('job.lost')));
      },
      fail: (error) => fail(error, mine, { again: () => follow(id) }),
    }, mine);
  }

  /** Said once, however often it is so. */
  function tellTrouble(text, reason) {
    if (state.trouble === text) return;
    state.trouble = text;
    draw(card.querySelector('[data-trouble]'), text ? trouble(text, reason) : html``);
  }

  function hear(job, mine) {
    if (mine.aborted) return;
    if (job.state === 'succeeded') return result(job);
    if (!isUnderWay(job)) {
      const error = job.state === 'cancelled'
        ? new ApiError(t('job.cancelled-text'), { title: t('job-state.cancelled') })
        : new ApiError(job.failure ?? '', { title: t('job-state.failed'), isByServer: true });
      return fail(error, mine, { ended: job.id });
    }
    // Drawn once for each state: what has the focus keeps it, and a screen reader is not told every figure.
    if (state.drawn !== job.state) {
      state.drawn = job.state;
      state.trouble = undefined;
      drawCard(scoring(job), '#job-heading');
    }
    card.querySelector('[data-figures]').textContent = figures(job);
    if (job.state === 'running') card.querySelector('progress').value = job.progress;
    tellTrouble(job.waiting_for ? t('job.waiting') : '', job.waiting_for);
    return undefined;
  }

  async function result(job) {
    const mine = begin();
    state = { kind: 'result', job };
    try {
      const summary = await jobSummary(job.id, mine);
      if (mine.aborted) return;
      state.isEmpty = summary.customers === 0;
      const rows = html`${filterForm(shown.filters)}<div class="rows">${loading()}</div>`;
      drawCard(html`${resultHead(job, fileName(job.id), address('customers'))}
        ${state.isEmpty ? noCustomers(summary) : summaryTiles(summary)}${faultList(summary)}${!state.isEmpty && rows}`,
      '#job-heading');
      const failed = summary.failed > 0 ? tn('job.failed-rows', summary.failed) : t('job.none-failed');
      said.textContent = t('job.said', { rows: tn('job.rows', summary.customers), failed });
      card.querySelector('.faults')?.addEventListener('toggle', ({ target }) => target.open && drawFaults(0));
      if (!state.isEmpty) await drawRows();
    } catch (error) {
      fail(error, mine, { again: () => follow(job.id) });
    }
  }

  async function drawRows({ isMove = false } = {}) {
    const mine = begin();
    const rows = card.querySelector('.rows');
    rows.setAttribute('aria-busy', 'true');
    const at = { offset: shown.offset, limit: ROWS };
    try {
      const page = await jobRows(shown.job, shown.filters, at, mine);
      if (mine.aborted) return;
      // An address may ask for more than there is.
      if (page.rows.length === 0 && page.total > 0) {
        shown.offset = Math.floor((page.total - 1) / ROWS) * ROWS;
        write(toAddress());
        return drawRows();
      }
      draw(rows, customerTable(page, at));
      const [from, to, total] = [at.offset + 1, at.offset + page.rows.length, page.total].map(number);
      if (isMove) said.textContent = page.total > 0 ? t('pager.range', { from, to, total }) : t('job.no-rows');
    } catch (error) {
      if (mine.aborted) return;
      if (!(error instanceof ApiError)) throw error;
      const action = html`<div class="actions">
        <button type="button" class="secondary outline" data-action="rows-again">${t('states.again')}</button></div>`;
      draw(rows, failure(error, { action }));
    }
    rows.removeAttribute('aria-busy');
    return undefined;
  }

  /**
   * Whoever turns pages goes on turning them, where they have not gone elsewhere meanwhile.
   * @param {Element} place of a table @param {string} step the button pressed
   */
  function standOnStep(place, step) {
    if (document.activeElement !== document.body && !place.contains(document.activeElement)) return;
    const same = place.querySelector(`[data-step="${step}"]:enabled`);
    (same ?? place.querySelector('.wide'))?.focus({ preventScroll: true });
  }

  /** @param {number} offset @param {string} [step] the button that led here */
  async function drawFaults(offset, step) {
    const place = card.querySelector('.fault-rows');
    const at = { offset, limit: FAULTS };
    try {
      draw(place, errorTable(await jobErrors(shown.job, at, signal), at));
      if (step) standOnStep(place, step);
    } catch (error) {
      if (signal.aborted) return;
      if (!(error instanceof ApiError)) throw error;
      const action = html`<div class="actions">
        <button type="button" class="secondary outline" data-faults="${offset}" data-step="again">${t('states.again')}</button></div>`;
      draw(place, failure(error, { action }));
    }
  }

  async function trySample() {
    const mine = AbortSignal.any([current.signal, signal]);
    try {
      const file = await sampleFile(SAMPLE, mine);
      if (!mine.aborted) take(file);
    } catch (error) {
      fail(error, mine);
    }
  }

  async function saveFiltered() {
    const told = card.querySelector('[data-told]');
    told.textContent = t('job.exporting');
    try {
      const blob = await jobExport(shown.job, shown.filters, signal);
      const link = Object.assign(document.createElement('a'), {
        href: URL.createObjectURL(blob), download: ['customers', ...Object.values(shown.filters)].join('-') + '.csv',
      });
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
      told.textContent = t('job.exported');
    } catch (error) {
      if (signal.aborted) return;
      if (!(error instanceof ApiError)) throw error;
      told.textContent = error.message;
    }
  }

  async function cancel() {
    const mine = AbortSignal.any([current.signal, signal]);
    try {
      await endJob(shown.job);
    } catch (error) {
      fail(error, mine, { again: () => follow(shown.job) });
    }
  }

  /** One click too many loses nothing: the first asks for another. */
  async function remove(button) {
    if (!button.dataset.sure) {
      button.dataset.sure = 'yes';
      button.textContent = t('job.really-remove');
      return;
    }
    const mine = AbortSignal.any([current.signal, signal]);
    try {
      await endJob(button.dataset.remove);
    } catch (error) {
      // Whatever is gone already is as it was to be.
      if (error.status !== 404) return fail(error, mine);
    }
    if (mine.aborted) return;
    if (shown.job) write({}, { isStep: true });
    start();
    card.querySelector('#job-heading').focus();
  }

  function turnTo(offset, step) {
    shown.offset = offset;
    write(toAddress(), { isStep: true });
    card.querySelector('.filters').scrollIntoView({ block: 'start' });
    // By the time they are there the card may show something else.
    const rows = card.querySelector('.rows');
    drawRows({ isMove: true }).then(() => standOnStep(rows, step));
  }

  function filterBy(filters) {
    shown.filters = filters;
    shown.offset = 0;
    write(toAddress(), { isStep: true });
    drawRows({ isMove: true });
  }

  function showFilters() {
    for (const select of card.querySelectorAll('.filters select')) select.value = shown.filters[select.name] ?? '';
  }

  card.addEventListener('click', ({ target }) => {
    const button = target.closest('button');
    if (!button) return undefined;
    const { action, rows, faults, step } = button.dataset;
    if (rows !== undefined) turnTo(Number(rows), step);
    if (faults !== undefined) drawFaults(Number(faults), step);
    if (action === 'back') {
      write({}, { isStep: true });
      start();
    }
    if (action === 'rows-again') drawRows();
    if (action === 'cancel') {
      if (state.kind === 'sending') {
        store.state.upload.end();
        start();
      } else cancel();
    }
    if (action === 'export') saveFiltered();
    if (action === 'again') state.again();
    if (action === 'unfilter') {
      filterBy({});
      showFilters();
      card.querySelector('#filter-tier').focus();
    }
    if (action === 'sample') trySample();
    return undefined;
  });
  root.querySelector('.customers').addEventListener('click', ({ target }) => {
    const button = target.closest('[data-remove]');
    if (button) remove(button);
  });
  card.addEventListener('change', ({ target }) => {
    if (target.type === 'file' && target.files.length) take(target.files[0]);
    if (!target.closest('.filters')) return;
    const { [target.name]: _, ...others } = shown.filters;
    filterBy(target.value ? { ...others, [target.name]: target.value } : others);
  });
  card.addEventListener('submit', (event) => {
    event.preventDefault();
    if (state.kind !== 'mapping') return;
    const { mapping, errors } = readMapping(new FormData(event.target), state.headers);
    for (const select of event.target.querySelectorAll('select')) {
      const error = errors.get(select.name);
      card.querySelector(`#map-${select.name}-error`).textContent = error ?? '';
      select.toggleAttribute('aria-invalid', Boolean(error));
      if (error) select.ariaInvalid = 'true';
    }
    const [first] = errors.keys();
    if (first) card.querySelector(`#map-${first}`).focus();
    else send(state.file, state.type, mapping);
  });
  // A file dropped beside the zone would take the page's place.
  for (const type of ['dragover', 'drop']) document.addEventListener(type, (event) => event.preventDefault(), { signal });
  for (const type of ['dragover', 'dragleave', 'drop']) {
    card.addEventListener(type, (event) => {
      const zone = event.target.closest('[data-drop]');
      if (!zone) return;
      event.preventDefault();
      zone.classList.toggle('is-over', type === 'dragover');
      if (type === 'drop' && event.dataTransfer.files.length) take(event.dataTransfer.files[0]);
    });
  }

  // What was chosen of a file's columns is there again after a look at another view, or in another language.
  signal.addEventListener('abort', () => {
    const form = card.querySelector('.mapping');
    if (form) store.set({ mapping: { ...state, chosen: Object.fromEntries(new FormData(form)) } });
  });

  /** Go on with a file that has not become a job yet; else begin. */
  function resume() {
    const { upload, mapping } = store.state;
    store.set({ mapping: null });
    if (upload) attend(upload);
    else if (mapping) askColumns(mapping);
    else start();
  }

  /** What an address asks for: a job, its rows from one on, some of them only. */
  function update(wanted) {
    const job = wanted.get('job') || null;
    const isSame = job !== null && job === shown.job && state.kind === 'result';
    shown = { job, filters: filtersIn(wanted), offset: Math.max(0, Number.parseInt(wanted.get('from') ?? '0', 10) || 0) };
    // Who goes on to another file has given up the one that could not be sent.
    if (job !== null && store.state.upload?.hasFailed) store.set({ upload: null });
    if (job === null) resume();
    else if (!isSame) follow(job);
    else if (!state.isEmpty) {
      showFilters();
      drawRows();
    }
  }
  update(params);
  // What was refused for want of a key is asked for again with it.
  whenSignedIn(store, () => {
    if (shown.job) follow(shown.job);
    else if (state.kind === 'start') start();
  }, signal);
  return { update };
}
