// The page's state in one place; views draw from it when it says that it has changed.

/** Holds one state object; `change` events tell that it was replaced. */
export class Store extends EventTarget {
  #state;

  /** @param {object} state */
  constructor(state) {
    super();
    this.#state = Object.freeze(state);
  }

  /** @returns {Readonly<object>} */
  get state() {
    return this.#state;
  }

  /**
   * Take over these members and tell which they were.
   * @param {object} changes
   */
  set(changes) {
    this.#state = Object.freeze({ ...this.#state, ...changes });
    this.dispatchEvent(new CustomEvent('change', { detail: Object.keys(changes) }));
  }

  /**
   * Call `listener` now, and whenever one of these members was set.
   * @param {string[]} members
   * @param {(state: Readonly<object>) => void} listener
   */
  watch(members, listener) {
    this.addEventListener('change', (event) => {
      if (members.some((member) => event.detail.includes(member))) listener(this.#state);
    });
    listener(this.#state);
  }
}

/**
 * Call `listener` whenever somebody has signed in who had to: what was refused is to be asked for again.
 * @param {Store} store @param {() => void} listener @param {AbortSignal} signal ends it
 */
export function whenSignedIn(store, listener, signal) {
  let wasNeeded = store.state.access.kind === 'needed';
  store.addEventListener('change', () => {
    const { kind } = store.state.access;
    const isNow = wasNeeded && kind === 'signed-in';
    // Before the listener, which may change the store itself.
    wasNeeded = kind === 'needed';
    if (isNow) listener();
  }, { signal });
}
