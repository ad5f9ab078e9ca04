// Which view is shown, and in which state: `#/portfolio?from=2026-01-01`. Behind the `#` nothing needs a server's help,
// and nothing that an address says of a customer reaches one.

/**
 * @param {string} hash as in `location.hash`
 * @returns {{view: string, params: URLSearchParams}|null} null: not an address of a view; an empty one names no view
 */
export function parseRoute(hash) {
  if (hash === '' || hash === '#') return { view: '', params: new URLSearchParams() };
  if (!hash.startsWith('#/')) return null;
  const [path, query = ''] = hash.slice(2).split(/\?(.*)/s);
  return { view: path.replace(/\/$/, ''), params: new URLSearchParams(query) };
}

/** @param {string} view @param {URLSearchParams|Record<string, string>} [params] @returns {string} an address to link to */
export function address(view, params = {}) {
  const query = new URLSearchParams(params).toString();
  return `#/${view}${query && `?${query}`}`;
}

/**
 * Write a state into the address. A step that the back button should undo is one of its own; any other replaces the last.
 * @param {string} view @param {URLSearchParams|Record<string, string>} params @param {{isStep?: boolean}} [options]
 */
export function writeAddress(view, params, { isStep = false } = {}) {
  const hash = address(view, params);
  if (hash === location.hash) return;
  if (isStep) history.pushState(null, '', hash);
  else history.replaceState(null, '', hash);
}
