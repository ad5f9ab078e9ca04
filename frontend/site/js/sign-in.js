// Who may use the page: asks for an API key where the API does, and lets whoever gave one sign out again.

import { ApiError, session, signIn, signInNeeded, signOut } from './api.js';
import { byServer } from './components/states.js';
import { forgetFileNames } from './file-names.js';
import { draw, html, standOnHeading } from './html.js';
import { t } from './language.js';
import { forgetAnswers } from './recent.js';

function form(error) {
  return html`<h1 id="sign-in-heading">${t('sign-in.title')}</h1>
    <p>${t('sign-in.text')}</p>
    <form novalidate>
      <input type="text" name="username" autocomplete="username" value="${t('sign-in.key')}" hidden>
      <label for="key">${t('sign-in.key')}</label>
      <input id="key" name="key" type="password" autocomplete="current-password" spellcheck="false" autocapitalize="off"
        aria-describedby="key-error" ${error && html`aria-invalid="true"`}>
      <small class="field-error" id="key-error" role="alert">${error && byServer(error.text, error.isByServer)}</small>
      <button type="submit">${t('sign-in.do')}</button>
    </form>`;
}

function account({ kind, name }) {
  if (kind !== 'signed-in') return html``;
  return html`<span class="quiet" role="status">${t('sign-in.as', { name })}</span>
    <button type="button" class="secondary outline" data-action="sign-out">${t('sign-in.end')}</button>`;
}

/**
 * @param {import('./store.js').Store} store its member `access` is this one's: unknown, open, needed or signed-in
 * @param {{section: HTMLElement, rest: HTMLElement[]}} elements the rest is hidden while a key is needed
 * @returns {{redraw: () => void}} to draw again what the frame drew anew
 */
export function startSignIn(store, { section, rest }) {
  const accessOf = ({ mode, name }) => (mode === 'demo' ? { kind: 'open' } : { kind: 'signed-in', name });

  /** Nothing of what was seen stays for whoever sits here next. */
  function forget() {
    forgetAnswers();
    forgetFileNames();
    store.set({ forgottenAt: Date.now() });
  }

  function redraw() {
    const { access } = store.state;
    const wasNeeded = !section.hidden;
    const corner = document.getElementById('account');
    const isNeeded = access.kind === 'needed';
    section.hidden = !isNeeded;
    for (const each of rest) each.hidden = isNeeded;
    draw(section, isNeeded ? form(access.error) : html``);
    if (corner) draw(corner, account(access));
    if (isNeeded) section.querySelector('#key').focus();
    else if (wasNeeded) standOnHeading(rest[0]);
  }
  store.watch(['access'], redraw);

  // Not drawn again while somebody types: many requests may be refused meanwhile.
  signInNeeded.addEventListener('needed', () => {
    if (store.state.access.kind === 'needed') return;
    store.set({ access: { kind: 'needed' } });
    forget();
  });

  section.addEventListener('submit', async (event) => {
    event.preventDefault();
    const key = new FormData(event.target).get('key').trim();
    const button = section.querySelector('[type="submit"]');
    button.disabled = true;
    button.setAttribute('aria-busy', 'true');
    try {
      store.set({ access: accessOf(await signIn(key)) });
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      const told = error.fields.length
        ? { text: t('sign-in.empty'), isByServer: false }
        : { text: error.message, isByServer: error.isByServer };
      store.set({ access: { kind: 'needed', error: told } });
    }
  });

  document.addEventListener('click', async (event) => {
    if (!event.target.closest('[data-action="sign-out"]')) return;
    forget();
    try {
      await signOut();
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      const told = document.querySelector('#account [role="status"]');
      if (told) told.textContent = t('sign-in.not-ended');
      return;
    }
    location.hash = '';
    location.reload();
  });

  session().then(
    (known) => store.set({ access: accessOf(known) }),
    (error) => {
      // Refused: the form is there already. No answer: the banner says so, and the next answer tells.
      if (!(error instanceof ApiError)) throw error;
    },
  );
  return { redraw };
}
