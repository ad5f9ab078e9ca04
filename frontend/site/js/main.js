// Puts the page together.

import { services } from './api.js';
import { serviceBadges } from './components/service-badges.js';
import { draw, html } from './html.js';
import { Store } from './store.js';
import { startAgentView } from './views/agent.js';

const SERVICES_EVERY_MS = 5_000;

const store = new Store({ services: undefined, result: { kind: 'empty' } });
const byId = (id) => document.getElementById(id);

startAgentView(store, { form: byId('customer-form'), result: byId('result') });

store.watch(['services'], (state) => {
  draw(byId('services'), serviceBadges(state.services));
  const notes = (state.services ?? []).flatMap((service) => service.notes);
  if (notes.length) draw(byId('notes'), html`${[...new Set(notes)].join(' ')}`);
});

async function askServices() {
  const before = store.state.services;
  let now;
  try {
    now = await services();
  } catch {
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

document.addEventListener('visibilitychange', () => document.hidden || askServices());
keepAsking();
