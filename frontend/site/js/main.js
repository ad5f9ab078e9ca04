// Puts the page together.

import { servicesNow } from './api.js';
import { banner, serviceBadges } from './components/service-badges.js';
import { startFrame } from './frame.js';
import { draw, html } from './html.js';
import { speak } from './language.js';
import { startSignIn } from './sign-in.js';
import { Store } from './store.js';

const SERVICES_EVERY_MS = 5_000;

const store = new Store({ access: { kind: 'unknown' }, services: undefined });
const byId = (id) => document.getElementById(id);

function drawServices({ access, services: known }) {
  const isShut = access.kind === 'needed';
  draw(byId('services'), isShut ? html`` : serviceBadges(known));
  draw(byId('banner'), isShut ? html`` : banner(known));
  const notes = [...new Set((known ?? []).flatMap((service) => service.notes))];
  if (notes.length === 0) return;
  byId('notes-fold').hidden = false;
  byId('notes').textContent = notes.join(' ');
}

async function askServices() {
  if (store.state.access.kind === 'needed') return;
  const before = store.state.services;
  const now = await servicesNow();
  // Drawn only when something changed: a reader with a screen reader is not told the same every few seconds.
  const told = (list) => JSON.stringify(list?.map(({ latency_ms: _, ...rest }) => rest) ?? null);
  if (before === undefined || told(before) !== told(now)) store.set({ services: now });
}

async function keepAsking() {
  if (!document.hidden) await askServices();
  setTimeout(keepAsking, SERVICES_EVERY_MS);
}

// On a small screen they would fill half of it, below every view.
byId('notes-fold').open = matchMedia('(min-width: 40rem)').matches;
await speak();
const signIn = startSignIn(store, { section: byId('sign-in'), rest: [byId('view'), byId('views')] });
startFrame(store, () => {
  signIn.redraw();
  drawServices(store.state);
});
store.watch(['access', 'services'], drawServices);
// Whoever has just signed in wants to see them at once.
store.watch(['access'], ({ access }) => access.kind === 'signed-in' && askServices());
document.addEventListener('visibilitychange', () => document.hidden || askServices());
keepAsking();
