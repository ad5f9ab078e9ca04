// One badge for each service, asked again every few seconds while somebody looks; and the banner that says what is out.

import { time } from '../format.js';
import { html } from '../html.js';
import { t, word } from '../language.js';
import { degraded } from './states.js';

const TONES = { ready: 'tone-low', 'not ready': 'tone-medium', unreachable: 'tone-high' };
const SHAPES = { ready: '●', 'not ready': '◆', unreachable: '▲' };

function badge(name, state, details) {
  return html`<li class="badge ${TONES[state] ?? 'tone-wait'}" title="${details}" data-service="${name}">
    <span aria-hidden="true">${SHAPES[state] ?? '○'}</span> ${name}: ${word('services', state)}</li>`;
}

function details(service) {
  const parts = [t('services.version', { model: service.model, version: service.version ?? t('format.not-known') })];
  if (service.latency_ms !== null) parts.push(t('services.latency', { ms: service.latency_ms.toFixed(1) }));
  if (service.breaker && service.breaker !== 'closed') parts.push(t('services.not-asked'));
  if (service.last_error) {
    parts.push(t('services.last-error', { code: service.last_error, at: time(service.last_error_at ?? null) }));
  }
  return parts.join(', ');
}

/** @param {Array<object>|null|undefined} services undefined before the first answer, null when the gateway gave none */
export function serviceBadges(services) {
  if (services === undefined) return html`<li class="badge tone-wait">${t('services.asking')}</li>`;
  if (services === null) return badge('gateway', 'unreachable', t('services.gateway-out'));
  return html`${badge('gateway', 'ready', t('services.answers'))}
    ${services.map((each) => badge(each.name, each.state, details(each)))}`;
}

/** Which half of every answer is missing at the moment. @param {Array<object>|null|undefined} services */
export function banner(services) {
  if (services === undefined) return html``;
  if (services === null) {
    return html`<div class="notice tone-high"><p><span aria-hidden="true">▲</span> ${t('degraded.gateway')}</p></div>`;
  }
  return html`${degraded(services.filter(({ state }) => state !== 'ready').map(({ model }) => model))}`;
}
