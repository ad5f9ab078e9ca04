// How far a file is: while it is sent, and while its rows are scored.

import { duration, number, percent } from '../format.js';
import { html } from '../html.js';
import { t, tn, word } from '../language.js';
import { byServer } from './states.js';

function bar(share, name) {
  return html`<progress max="1" ${share !== null && html`value="${share}"`} aria-label="${name}"></progress>`;
}

/** @param {string} name of the file @param {number} share that has gone */
export function sending(name, share) {
  return html`<h2 id="job-heading" tabindex="-1">${t('job.sending')}</h2>
    ${bar(share, t('job.sending'))}<p class="quiet" data-figures>${t('job.sent', { name, share: percent(share) })}</p>
    <div class="actions"><button type="button" class="secondary outline" data-action="cancel">${t('job.cancel')}</button></div>`;
}

/** The line below the bar. @param {import('../api.js').Job} job */
export function figures(job) {
  return [
    job.state === 'running' && percent(job.progress),
    tn('job.rows', job.rows_done),
    job.rows_failed > 0 && tn('job.failed-rows', job.rows_failed),
    job.rows_per_s && t('job.rate', { rate: number(Math.round(job.rows_per_s)) }),
    job.seconds_left !== null && job.state === 'running' && t('job.left', { time: duration(job.seconds_left) }),
  ].filter(Boolean).join(' · ');
}

/** @param {import('../api.js').Job} job queued or running */
export function scoring(job) {
  const title = word('job-state', job.state);
  return html`<h2 id="job-heading" tabindex="-1">${title}</h2>${bar(job.state === 'running' ? job.progress : null, title)}
    <p class="quiet" data-figures>${figures(job)}</p><div data-trouble role="status"></div>
    <div class="actions"><button type="button" class="secondary outline" data-action="cancel">${t('job.cancel')}</button></div>
    <p class="quiet">${t('job.may-leave')}</p>`;
}

/** What keeps it from going on, or its progress from being seen. @param {string} text @param {string} [reason] by the API */
export function trouble(text, reason) {
  return html`<div class="notice tone-medium"><p><span aria-hidden="true">◆</span> ${text}</p>
    ${reason && html`<p class="quiet">${byServer(reason)}</p>`}</div>`;
}
