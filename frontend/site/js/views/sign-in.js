// Who may use the page: asks for an API key where the API does, and lets whoever gave one sign out again.

import { ApiError, session, signIn, signInNeeded, signOut } from '../api.js';
import { draw, html } from '../html.js';

function form(error) {
  return html`<h1 id="sign-in-heading">Sign in</h1>
    <p>This system is open to holders of an API key. Whoever runs it can give you one.</p>
    <form novalidate>
      <label for="key">API key</label>
      <input id="key" name="key" type="password" autocomplete="current-password" spellcheck="false" autocapitalize="off"
        aria-describedby="key-error" ${error && html`aria-invalid="true"`}>
      <small class="field-error" id="key-error" role="alert">${error}</small>
      <button type="submit">Sign in</button>
    </form>`;
}

function account({ kind, name }) {
  if (kind !== 'signed-in') return html``;
  return html`<span class="quiet">Signed in as ${name}</span>
    <button type="button" class="secondary outline" data-action="sign-out">Sign out</button>`;
}

/**
 * @param {import('../store.js').Store} store its member `access` is this view's: unknown, open, needed or signed-in
 * @param {{section: HTMLElement, account: HTMLElement, rest: HTMLElement}} elements the rest is hidden while a key is needed
 */
export function startSignIn(store, { section, account: corner, rest }) {
  const accessOf = ({ mode, name }) => (mode === 'demo' ? { kind: 'open' } : { kind: 'signed-in', name });

  store.watch(['access'], ({ access }) => {
    const isNeeded = access.kind === 'needed';
    section.hidden = !isNeeded;
    rest.hidden = isNeeded;
    draw(section, isNeeded ? form(access.error) : html``);
    draw(corner, account(access));
    if (isNeeded) section.querySelector('#key').focus();
  });

  // Not drawn again while somebody types: many requests may be refused meanwhile.
  signInNeeded.addEventListener('needed', () => {
    if (store.state.access.kind !== 'needed') store.set({ access: { kind: 'needed' } });
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
      const told = error.fields.length ? 'Enter an API key.' : error.message;
      store.set({ access: { kind: 'needed', error: told } });
    }
  });

  corner.addEventListener('click', async (event) => {
    if (!event.target.closest('[data-action="sign-out"]')) return;
    try {
      await signOut();
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      return;
    }
    // Nothing of what was seen stays for whoever sits here next.
    window.location.reload();
  });

  session().then(
    (known) => store.set({ access: accessOf(known) }),
    (error) => {
      // Refused: the form is there already. No answer: the badges say so, and the next answer tells.
      if (!(error instanceof ApiError)) throw error;
    },
  );
}
