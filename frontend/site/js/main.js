// Puts the page together.

import { services } from './api.js';
import { serviceBadges } from './components/service-badges.js';
import { draw, html } from './html.js';
import { Store } from './store.js';
import { startAgentView } from './views/agent.js';
import { startSignIn } from './views/sign-in.js';

const SERVICES_EVERY_MS = 5_000;

const store = new Store({ access: { kind: 'unknown' }, services: undefined, result: { kind: 'empty' } });
const byId = (id) => document.getElementById(id);

startSignIn(store, { section: byId('sign-in'), account: byId('account'), rest: byId('agent') });
startAgentView(store, { form: byId('customer-form'), result: byId('result') });

store.watch(['access', 'services'], (state) => {
  draw(byId('services'), state.access.kind === 'needed' ? html`` : serviceBadges(state.services));
  const notes = (state.services ?? []).flatMap((service) => service.notes);
  if (notes.length) draw(byId('notes'), html`${[...new Set(notes)].join(' ')}`);
});

async function askServices() {
  if (store.state.access.kind === 'needed') return;
  const before = store.state.services;
  let now;
  try {
    now = await services();
  } catch (error) {
    // Refused is not unreachable.
    if (error.status === 401) return;
    now = null;
  }
  // Drawn only when something changed: a reader with a screen reader is not told the same every few seconds.
  const told = (list) => JSON.stringify(list?.map(({ latency_ms: _, ...rest }) => rest) ?? null);
  if (before === undefined || told(before) !== told(now)) store.set({ services: now });
}

async function keepAsking() {
  if (!document.hidden) await askServices();
  setTimeout(keepAsking, SERVICES_EVERY_MS);
}

// Whoever has just signed in wants to see them at once.
store.watch(['access'], ({ access }) => access.kind === 'signed-in' && askServices());
document.addEventListener('visibilitychange', () => document.hidden || askServices());
keepAsking();
