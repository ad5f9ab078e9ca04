// The views, in the order of the navigation. Each is a module of its own, loaded when it is first shown.

/**
 * What a view gets from the frame.
 * @typedef {object} Place
 * @property {HTMLElement} root to draw into; emptied when the view is left
 * @property {import('./store.js').Store} store the page's state, and what a view keeps for when it is shown again
 * @property {URLSearchParams} params the state that the address asks for
 * @property {AbortSignal} signal ends when the view is left: give it to every listener, request and timer
 * @property {(params: URLSearchParams|Record<string, string>, options?: {isStep?: boolean}) => void} write write a state
 *   into the address
 *
 * A view's module exports `show(place)`, which draws the view with an `h1` and may return `{update(params)}`, called when
 * the address asks for another state of the same view; without it the view is shown anew.
 *
 * Its name is its address, its file js/views/<name>.js, its style sheet css/views/<name>.css and its texts `view.<name>`.
 */

/** @type {Array<{name: string, load: () => Promise<{show: (place: Place) => {update?: (params: URLSearchParams) => void}|void}>}>} */
export const VIEWS = [
  { name: 'analyze', load: () => import('./views/analyze.js') },
  { name: 'customers', load: () => import('./views/customers.js') },
  { name: 'portfolio', load: () => import('./views/portfolio.js') },
  { name: 'models', load: () => import('./views/models.js') },
];
