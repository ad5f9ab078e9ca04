// One badge for each service, asked again every few seconds while somebody looks.

import { html } from '../html.js';

const TONES = { ready: 'tone-low', 'not ready': 'tone-medium', unreachable: 'tone-high' };
const SHAPES = { ready: '●', 'not ready': '◆', unreachable: '▲' };

function badge(name, state, details) {
  return html`<span class="badge ${TONES[state] ?? 'tone-wait'}" title="${details}" data-service="${name}">
    <span aria-hidden="true">${SHAPES[state] ?? '○'}</span> ${name}: ${state}</span>`;
}

const at = (time) => (time ? ` at ${new Date(time).toLocaleTimeString()}` : '');

function details(service) {
  const parts = [`${service.model} version ${service.version ?? 'not known'}`];
  if (service.latency_ms !== null) parts.push(`answers in ${service.latency_ms.toFixed(1)} ms`);
  if (service.breaker && service.breaker !== 'closed') parts.push('not asked at the moment');
  if (service.last_error) parts.push(`last error: ${service.last_error}${at(service.last_error_at)}`);
  return parts.join(', ');
}

/** @param {Array<object>|null|undefined} services undefined before the first answer, null when the gateway gave none */
export function serviceBadges(services) {
  if (services === undefined) return html`<span class="badge tone-wait">asking the services…</span>`;
  if (services === null) return badge('gateway', 'unreachable', 'The gateway does not answer');
  return html`${badge('gateway', 'ready', 'Answers')}${services.map((each) => badge(each.name, each.state, details(each)))}`;
}
