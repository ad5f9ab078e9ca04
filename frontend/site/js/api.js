// The only file that calls fetch. Addresses are relative, so any host and path work.

const TIMEOUT_MS = 15_000;

/** Tells by `needed` that the API wants an API key, or that the session is over. */
export const signInNeeded = new EventTarget();

/** Something the server, or the way to it, could not do. */
export class ApiError extends Error {
  /**
   * @param {string} message what happened and what to do
   * @param {{status?: number, title?: string, fields?: Array<{pointer: string, message: string}>, requestId?: string}} [more]
   */
  constructor(message, { status = 0, title = 'No answer', fields = [], requestId = '' } = {}) {
    super(message);
    this.status = status;
    this.title = title;
    this.fields = fields;
    this.requestId = requestId;
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
  return new ApiError(problem.detail ?? `The server answered with status ${response.status}. Try again in a few seconds.`, {
    status: response.status,
    title: problem.title ?? 'The request failed',
    fields: problem.errors ?? [],
    requestId: problem.request_id ?? response.headers.get('X-Request-ID') ?? '',
  });
}

/** @param {Error} error what fetching or reading threw @returns {ApiError} */
function failureOf(error) {
  if (error instanceof ApiError) return error;
  if (error.name === 'TimeoutError') {
    return new ApiError(`No answer within ${TIMEOUT_MS / 1000} seconds. Try again.`, { title: 'The server took too long' });
  }
  if (error instanceof SyntaxError) {
    return new ApiError('Something on the way to the server changed the answer. Check your connection, then try again.', {
      title: 'The answer cannot be read',
    });
  }
  return new ApiError('Check your connection, then try again. What you have entered stays here.', {
    title: 'The server cannot be reached',
  });
}

/**
 * The whole answer: its body may break off, or not come in time, as its headers may.
 * @param {string} path @param {RequestInit} [options] @returns {Promise<{body: object, headers: Headers}>}
 * @throws {ApiError}
 */
async function request(path, options = {}) {
  try {
    const response = await fetch(path, { ...options, signal: AbortSignal.timeout(TIMEOUT_MS) });
    if (!response.ok) throw await problemOf(response);
    return { body: response.status === 204 ? null : await response.json(), headers: response.headers };
  } catch (error) {
    if (error.status === 401) signInNeeded.dispatchEvent(new Event('needed'));
    throw failureOf(error);
  }
}

/**
 * Ask for one customer. When one model is out, the other half comes all the same.
 * @param {object} customer fields as the API names them
 * @returns {Promise<{prediction: object, missing: string[], storedAs: string|null}>}
 * @throws {ApiError}
 */
export async function predict(customer) {
  const { body, headers } = await request('predict?include=models,policy,value_at_risk', {
    method: 'POST',
    headers: { 'Content-Type': 'application/json', Prefer: 'handling=lenient' },
    body: JSON.stringify(customer),
  });
  return {
    prediction: body,
    missing: (headers.get('X-Degraded') ?? '').split(',').map((name) => name.trim()).filter(Boolean),
    storedAs: headers.get('X-Prediction-Id'),
  };
}

/**
 * State of each model service.
 * @returns {Promise<Array<{name: string, state: string, model: string, version: string|null, latency_ms: number|null,
 *   breaker: string, last_error: string|null, last_error_at: string|null, notes: string[]}>>}
 * @throws {ApiError}
 */
export async function services() {
  return (await request('v1/services')).body.services;
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
  const options = { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify({ key }) };
  return (await request('v1/session', options)).body;
}

/** End the session. @throws {ApiError} */
export async function signOut() {
  await request('v1/session', { method: 'DELETE' });
}
