// What surrounds the views: navigation, language, colours, and which view stands in the middle.

import { failure, loading } from './components/states.js';
import { draw, html, standOnHeading } from './html.js';
import { LANGUAGES, chooseLanguage, language, t } from './language.js';
import { recall, remember } from './remembered.js';
import { address, parseRoute, writeAddress } from './router.js';
import { VIEWS } from './views.js';

const byId = (id) => document.getElementById(id);
const root = document.documentElement;

function navigation(shown) {
  return html`<ul>${VIEWS.map(
    ({ name }) => html`<li><a href="${address(name)}" ${name === shown && html`aria-current="page"`}>${t(`view.${name}`)}</a></li>`,
  )}</ul>`;
}

const darkBySystem = matchMedia('(prefers-color-scheme: dark)');
const isDark = () => (root.dataset.theme ? root.dataset.theme === 'dark' : darkBySystem.matches);

function settings() {
  return html`<label class="language"><span class="visually-hidden">${t('frame.language')}</span>
      <select id="language" autocomplete="off">${Object.entries(LANGUAGES).map(
        ([code, name]) => html`<option value="${code}" lang="${code}" ${code === language().code && html`selected`}>${name}</option>`,
      )}</select></label>
    <button type="button" id="colours" class="icon-button secondary outline" aria-pressed="${String(isDark())}"
      aria-label="${t('frame.dark')}" title="${t('frame.dark')}"><svg aria-hidden="true" viewBox="0 0 24 24">
      <circle cx="12" cy="12" r="8.5"/><path d="M12 3.5a8.5 8.5 0 0 1 0 17z"/></svg></button>
    <div id="account" class="account"></div>`;
}

/** A view's own style sheet, before the view is drawn. */
function loadStyles(name) {
  const href = `css/views/${name}.css`;
  if (document.querySelector(`link[href="${href}"]`)) return Promise.resolve();
  const link = Object.assign(document.createElement('link'), { rel: 'stylesheet', href });
  document.head.append(link);
  // A view without its colours is still of use.
  return new Promise((resolve) => ['load', 'error'].forEach((event) => link.addEventListener(event, resolve)));
}

const cannotBeShown = () =>
  Object.assign(new Error(t('frame.failed-text')), { title: t('frame.failed'), isHopeful: true });

function notLoaded() {
  throw cannotBeShown();
}

/**
 * @param {import('./store.js').Store} store
 * @param {() => void} redraw called when the frame's own elements were drawn anew, as in another language
 */
export function startFrame(store, redraw) {
  const middle = byId('view');
  let shown = { name: null };

  function drawFrame() {
    root.lang = language().code;
    for (const each of document.querySelectorAll('[data-text]')) each.textContent = t(each.dataset.text);
    for (const each of document.querySelectorAll('[data-label]')) each.ariaLabel = t(each.dataset.label);
    draw(byId('settings'), settings());
    redraw();
  }

  function leave() {
    shown.leaving?.abort();
    shown = { name: null };
    draw(middle, loading());
  }

  function drawFailure(error) {
    const again = html`<button type="button" class="secondary outline" data-reload>${t('states.again')}</button>`;
    const told = error.title ? error : cannotBeShown();
    draw(middle, failure(told, { level: 1, action: told.isHopeful && again }));
    middle.querySelector('[data-reload]')?.addEventListener('click', () => location.reload());
    // A bug of ours: whoever looks for it finds it there.
    if (!error.title) console.error(error);
  }

  async function show(name, params, { isMove }) {
    leave();
    const leaving = new AbortController();
    const mine = { name, leaving };
    shown = mine;
    draw(byId('views'), navigation(name));
    const view = VIEWS.find((each) => each.name === name);
    document.title = `${t(view ? `view.${name}` : 'frame.no-view')} · TeleLink Customer Analytics`;
    try {
      if (!view) throw Object.assign(new Error(t('frame.no-view-text')), { title: t('frame.no-view') });
      const [module] = await Promise.all([view.load().catch(notLoaded), loadStyles(name)]);
      if (shown !== mine) return;
      const place = {
        root: middle, store, params, signal: leaving.signal, write: (state, options) => writeAddress(name, state, options),
      };
      middle.replaceChildren();
      mine.update = module.show(place)?.update;
    } catch (error) {
      if (shown !== mine) return;
      drawFailure(error);
    }
    if (!isMove) return;
    // Whoever listens is told where they are; whoever looks begins at the top.
    standOnHeading(middle);
    scrollTo(0, 0);
  }

  function follow({ isMove = true } = {}) {
    const route = parseRoute(location.hash);
    // An address within the page is one of what is shown; where nothing is yet, of the first view.
    if (route === null && shown.name !== null) return;
    const { view, params } = route ?? parseRoute('');
    const name = view || VIEWS[0].name;
    if (name === shown.name && shown.update) shown.update(params);
    else show(name, params, { isMove });
  }

  byId('settings').addEventListener('change', async ({ target }) => {
    if (target.id !== 'language') return;
    await chooseLanguage(target.value);
    leave();
    drawFrame();
    follow({ isMove: false });
    byId('language').focus();
  });
  byId('settings').addEventListener('click', ({ target }) => {
    const button = target.closest('#colours');
    if (!button) return;
    root.dataset.theme = isDark() ? 'light' : 'dark';
    remember('colours', root.dataset.theme);
    button.ariaPressed = String(isDark());
  });
  darkBySystem.addEventListener('change', () => {
    if (!recall('colours')) byId('colours').ariaPressed = String(isDark());
  });
  // An address within the page is not one of a view.
  document.addEventListener('click', (event) => {
    const link = event.target.closest('a[href^="#"]:not([href^="#/"])');
    if (!link) return;
    event.preventDefault();
    const target = byId(link.hash.slice(1));
    const fold = target.closest('details');
    if (fold) fold.open = true;
    target.focus();
    target.scrollIntoView();
  });
  addEventListener('hashchange', () => follow());

  drawFrame();
  follow({ isMove: false });
}
