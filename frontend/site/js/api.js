// The only file that calls fetch. Addresses are relative, so any host and path work.

import { t } from './language.js';

const TIMEOUT_MS = 15_000;

/** Tells by `needed` that the API wants an API key, or that the session is over. */
export const signInNeeded = new EventTarget();

/** Something the server, or the way to it, could not do. */
export class ApiError extends Error {
  /**
   * @param {string} message what happened and what to do
   * @param {{status?: number, title: string, fields?: Array<{pointer: string, message: string}>, requestId?: string,
   *   isByServer?: boolean}} more by the server: in its own words, which are English
   */
  constructor(message, { status = 0, title, fields = [], requestId = '', isByServer = false }) {
    super(message);
    this.status = status;
    this.title = title;
    this.fields = fields;
    this.requestId = requestId;
    this.isByServer = isByServer;
  }
}

/** @param {Response} response @returns {Promise<ApiError>} */
async function problemOf(response) {
  let problem = {};
  try {
    problem = await response.json();
  } catch {
    // Something between the page and the server answered in its own words: the status is all there is.
  }
  return new ApiError(problem.detail ?? t('error.status-text', { status: response.status }), {
    status: response.status,
    title: problem.title ?? t('error.status'),
    fields: problem.errors ?? [],
    requestId: problem.request_id ?? response.headers.get('X-Request-ID') ?? '',
    isByServer: problem.detail !== undefined,
  });
}

/** @param {Error} error what fetching or reading threw @returns {ApiError} */
function failureOf(error) {
  if (error instanceof ApiError) return error;
  const kind = { TimeoutError: 'late', SyntaxError: 'changed' }[error.name] ?? 'away';
  return new ApiError(t(`error.${kind}-text`, { seconds: TIMEOUT_MS / 1000 }), { title: t(`error.${kind}`) });
}

/**
 * The whole answer: its body may break off, or not come in time, as its headers may.
 * @param {string} path
 * @param {RequestInit & {timeoutMs?: number, read?: (response: Response) => Promise<unknown>}} [options] its `signal` ends
 *   the wait; the body is JSON unless `read` says otherwise
 * @returns {Promise<{body: object, headers: Headers}>}
 * @throws {ApiError}
 * @throws {DOMException} named AbortError, when `signal` ended it
 */
async function request(path, { signal, timeoutMs = TIMEOUT_MS, read = (response) => response.json(), ...options } = {}) {
  const limit = AbortSignal.timeout(timeoutMs);
  try {
    const response = await fetch(path, { ...options, signal: signal ? AbortSignal.any([signal, limit]) : limit });
    if (!response.ok) throw await problemOf(response);
    return { body: response.status === 204 ? null : await read(response), headers: response.headers };
  } catch (error) {
    if (signal?.aborted) throw error;
    if (error.status === 401) signInNeeded.dispatchEvent(new Event('needed'));
    throw failureOf(error);
  }
}

/** Half an answer is better than none. */
const HALF_WILL_DO = { Prefer: 'handling=lenient' };

const asJson = (body, headers = {}) => ({
  method: 'POST', headers: { 'Content-Type': 'application/json', ...headers }, body: JSON.stringify(body),
});

/**
 * Ask for one customer. When one model is out, the other half comes all the same.
 * @param {object} customer fields as the API names them
 * @returns {Promise<{prediction: object, missing: string[], storedAs: string|null}>}
 * @throws {ApiError}
 */
export async function predict(customer) {
  const path = 'predict?include=interval,models,policy,reasons,value_at_risk';
  const { body, headers } = await request(path, asJson(customer, HALF_WILL_DO));
  return {
    prediction: body,
    missing: (headers.get('X-Degraded') ?? '').split(',').map((name) => name.trim()).filter(Boolean),
    storedAs: headers.get('X-Prediction-Id'),
  };
}

/**
 * What a customer who does not exist would be told, or which changes would bring one to a tier. Nothing of it is stored.
 * @param {{customer: object, changes?: object, goal?: 'Low'|'Medium'}} asked
 * @param {AbortSignal} signal
 * @returns {Promise<{prediction: object, trials: Array<{changes: object, words: string, prediction: object}>}>}
 * @throws {ApiError}
 */
export async function whatIf(asked, signal) {
  return (await request('v1/what-if', { ...asJson(asked, HALF_WILL_DO), signal })).body;
}

/**
 * All customers together, as the predictions of a span of days show them.
 * @param {{from?: string|null, to?: string|null}} span days as YYYY-MM-DD, both included; without one, no limit
 * @param {AbortSignal} signal
 * @returns {Promise<object>}
 * @throws {ApiError}
 */
export async function portfolio({ from, to }, signal) {
  const query = new URLSearchParams(Object.entries({ from, to }).filter(([, day]) => day));
  return (await request(`v1/portfolio?${query}`, { signal })).body;
}

/**
 * Both models.
 * @param {AbortSignal} signal
 * @returns {Promise<Array<{name: string, service: string, state: string, version: string|null}>>}
 * @throws {ApiError}
 */
export async function models(signal) {
  return (await request('v1/models', { signal })).body.models;
}

/**
 * A model's card.
 * @param {string} name @param {AbortSignal} signal @returns {Promise<object>}
 * @throws {ApiError}
 */
export async function model(name, signal) {
  return (await request(`v1/models/${encodeURIComponent(name)}`, { signal })).body;
}

/**
 * State of each model service.
 * @param {AbortSignal} [signal]
 * @returns {Promise<Array<{name: string, state: string, model: string, version: string|null, latency_ms: number|null,
 *   breaker: string, last_error: string|null, last_error_at: string|null, notes: string[]}>>}
 * @throws {ApiError}
 */
export async function services(signal) {
  return (await request('v1/services', { signal })).body.services;
}

/**
 * The same for whoever looks at them all the time.
 * @returns {Promise<object[]|null>} none where the API refuses to tell, as without a key or the scope for it: then it is
 *   there, and of the services nothing is known; null where nobody answers
 */
export async function servicesNow() {
  try {
    return await services();
  } catch ({ status }) {
    return status >= 400 && status < 500 ? [] : null;
  }
}

/**
 * Who the API takes us for.
 * @returns {Promise<{mode: 'demo'|'keys', name: string|null, scopes: string[]}>} demo: no keys are in use
 * @throws {ApiError} with status 401 when a key is needed
 */
export async function session() {
  return (await request('v1/session')).body;
}

/**
 * Sign in; the API answers with a cookie that scripts cannot read.
 * @param {string} key an API key
 * @returns {Promise<{mode: 'demo'|'keys', name: string|null, scopes: string[]}>}
 * @throws {ApiError}
 */
export async function signIn(key) {
  return (await request('v1/session', asJson({ key }))).body;
}

/** End the session. @throws {ApiError} */
export async function signOut() {
  await request('v1/session', { method: 'DELETE' });
}

/**
 * A file that is scored in the background, as the API tells it.
 * @typedef {{id: string, state: 'queued'|'running'|'succeeded'|'failed'|'cancelled', created_at: string, rows_done: number,
 *   rows_failed: number, errors: number, progress: number, rows_per_s: number|null, seconds_left: number|null,
 *   waiting_for: string|null, failure: string|null}} Job
 */

const EXPORT_TIMEOUT_MS = 600_000;
const LOOK_EVERY_MS = 2_000;
// Something on the way may hold back events for longer than anybody wants to look at a bar that stands still.
const SILENCE_MS = 8_000;
const jobPath = (id, part = '') => `v1/jobs/${encodeURIComponent(id)}${part}`;

/** The jobs that there are, the newest first. @param {AbortSignal} signal @returns {Promise<Job[]>} @throws {ApiError} */
export async function jobs(signal) {
  return (await request('v1/jobs', { signal })).body.jobs;
}

/**
 * Send a file to be scored. Not by fetch, which does not tell how much of it has gone.
 * @param {Blob} file
 * @param {{type: string, mapping: Record<string, string>}} how its media type; fields by header, for headers of other names
 * @param {(share: number) => void} sent told how much has gone, from 0 to 1
 * @param {AbortSignal} signal
 * @returns {Promise<Job>}
 * @throws {ApiError}
 * @throws {DOMException} named AbortError, when `signal` ended it
 */
export function sendFile(file, { type, mapping }, sent, signal) {
  const query = new URLSearchParams(Object.entries(mapping).map(([header, field]) => ['map', `${header}:${field}`]));
  return new Promise((resolve, reject) => {
    const xhr = new XMLHttpRequest();
    xhr.open('POST', `v1/jobs${query.size ? `?${query}` : ''}`);
    xhr.setRequestHeader('Content-Type', type);
    xhr.upload.addEventListener('progress', ({ loaded, total }) => sent(total ? loaded / total : 0));
    xhr.addEventListener('load', async () => {
      const response = new Response(xhr.responseText, { status: xhr.status });
      try {
        if (!response.ok) throw await problemOf(response);
        resolve(await response.json());
      } catch (error) {
        if (error.status === 401) signInNeeded.dispatchEvent(new Event('needed'));
        reject(failureOf(error));
      }
    });
    xhr.addEventListener('error', () => reject(failureOf(new TypeError('no connection'))));
    xhr.addEventListener('abort', () => reject(signal.reason));
    signal.addEventListener('abort', () => xhr.abort());
    xhr.send(file);
  });
}

/** Whether a job is still to come to its end. @param {Job} job */
export const isUnderWay = (job) => job.state === 'queued' || job.state === 'running';

// Passes by itself: no connection, too many requests, or nobody there just now.
const isPassing = ({ status }) => status === 0 || status === 429 || status >= 500;

/**
 * Tell of a job whenever it has gone on, until it has ended: by its events; where none comes, or none can, by asking.
 * @param {string} id
 * @param {{tell: (job: Job) => void, lost: () => void, fail: (error: ApiError) => void}} listener told how the job is; that it
 *   cannot be asked right now, which is tried again; that it cannot be followed
 * @param {AbortSignal} signal
 */
export function followJob(id, { tell, lost, fail }, signal) {
  let [events, timer, hasAsked, isOver] = [null, 0, false, false];
  function end() {
    isOver = true;
    clearTimeout(timer);
    events.close();
  }
  function askIn(ms) {
    clearTimeout(timer);
    if (!isOver) timer = setTimeout(ask, ms);
  }
  function hear(job) {
    if (isOver) return;
    if (!isUnderWay(job)) end();
    tell(job);
  }
  async function ask() {
    hasAsked = true;
    try {
      hear((await request(jobPath(id), { signal })).body);
      if (!isOver && events.readyState === EventSource.CLOSED) listen();
    } catch (error) {
      if (isOver) return;
      if (!isPassing(error)) {
        end();
        return fail(error);
      }
      lost();
    }
    return askIn(LOOK_EVERY_MS);
  }
  function listen() {
    events = new EventSource(jobPath(id, '/events'));
    for (const name of ['progress', 'finished']) {
      events.addEventListener(name, ({ data }) => {
        hear(JSON.parse(data));
        askIn(SILENCE_MS);
      });
    }
    // The browser says neither why, nor whether it will try again by itself: the job is asked.
    events.addEventListener('error', () => askIn(hasAsked ? LOOK_EVERY_MS : 0));
  }
  signal.addEventListener('abort', end);
  listen();
  askIn(SILENCE_MS);
}

/** Cancel a job that is under way; remove one that has ended. @param {string} id @throws {ApiError} */
export async function endJob(id) {
  await request(jobPath(id), { method: 'DELETE' });
}

/**
 * What a job's rows come to.
 * @param {string} id @param {AbortSignal} signal
 * @returns {Promise<{customers: number, failed: number, value_at_risk: number, tiers: object, states: object}>}
 * @throws {ApiError}
 */
export async function jobSummary(id, signal) {
  return (await request(jobPath(id, '/summary'), { signal })).body;
}

/**
 * Customers by value at risk.
 * @param {string} id @param {Record<string, string>} filters `tier`, `state`, `plan`
 * @param {{offset: number, limit: number}} page @param {AbortSignal} signal
 * @returns {Promise<{rows: object[], total: number}>}
 * @throws {ApiError}
 */
export async function jobRows(id, filters, page, signal) {
  return (await request(jobPath(id, `/rows?${new URLSearchParams({ ...filters, ...page })}`), { signal })).body;
}

/** The same customers, all of them, as a CSV file. @returns {Promise<Blob>} @throws {ApiError} */
export async function jobExport(id, filters, signal) {
  const options = { signal, timeoutMs: EXPORT_TIMEOUT_MS, headers: { Accept: 'text/csv' }, read: (response) => response.blob() };
  return (await request(jobPath(id, `/rows?${new URLSearchParams(filters)}`), options)).body;
}

/**
 * What is wrong with rows that could not be scored.
 * @param {string} id @param {{offset: number, limit: number}} page @param {AbortSignal} signal
 * @returns {Promise<{errors: Array<{line: number, field: string, reason: string}>, total: number}>}
 * @throws {ApiError}
 */
export async function jobErrors(id, page, signal) {
  return (await request(jobPath(id, `/errors?${new URLSearchParams(page)}`), { signal })).body;
}

/** A file to try it with, as if it had been chosen. @param {string} path @param {AbortSignal} signal @throws {ApiError} */
export async function sampleFile(path, signal) {
  const { body } = await request(path, { signal, read: (response) => response.blob() });
  return new File([body], path.split('/').at(-1), { type: 'text/csv' });
}
