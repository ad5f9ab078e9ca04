// The view of an analyst and of ops: what each model was measured at, beside what was claimed, and how its service is now.

import { ApiError, model as modelOf, models as allModels, services as allServices } from '../api.js';
import { bar } from '../components/bar.js';
import { calibrationPlot } from '../components/calibration-plot.js';
import { markdown } from '../components/markdown.js';
import { failure, loading } from '../components/states.js';
import { dateAndTime, decimal, dollars, number, percent, time } from '../format.js';
import { draw, html, redraw } from '../html.js';
import { has, t, tn, word } from '../language.js';
import { address } from '../router.js';
import { whenSignedIn } from '../store.js';

const EVERY_MS = 3_000;
const STATES = {
  ready: { tone: 'tone-low', shape: '●' },
  'not ready': { tone: 'tone-medium', shape: '◆' },
  unreachable: { tone: 'tone-high', shape: '▲' },
};
const BREAKERS = { closed: 'tone-low', 'half-open': 'tone-medium', open: 'tone-high' };
const VERDICTS = {
  met: { tone: 'tone-low', shape: '✓' },
  open: { tone: 'tone-medium', shape: '≈' },
  missed: { tone: 'tone-high', shape: '✗' },
};
// Less is better.
const ERRORS = new Set(['mae_usd', 'rmse_usd']);
const SHARES = new Set(['accuracy', 'precision', 'recall', 'f1', 'interval_coverage']);

const source = (field) => html`<code class="source">${field}</code>`;
const figure = (field, text) => html`<span data-field="${field}">${text}</span>`;
/** A name of the API that the catalogue may not know. */
const named = (family, name) => (has(`${family}.${name}`) ? t(`${family}.${name}`) : name.replaceAll('_', ' '));
const fact = (label, field, value, kind) => html`<div ${kind && html`class="${kind}"`}><dt>${label}</dt><dd>${figure(field, value)}</dd></div>`;

function badge({ tone, shape }, text) {
  return html`<span class="badge ${tone}"><span aria-hidden="true">${shape}</span> ${text}</span>`;
}

const stateBadge = (state) => badge(STATES[state] ?? { tone: 'tone-wait', shape: '○' }, named('services', state));

function table(labelledBy, head, rows) {
  return html`<div class="table-scroll" role="group" tabindex="0" aria-labelledby="${labelledBy}"><table><thead><tr>
    ${head.map(([text, isNumber]) => html`<th scope="col" ${isNumber && html`class="figure"`}>${text}</th>`)}</tr></thead>
    <tbody>${rows}</tbody></table></div>`;
}

function panel(id, heading, means, content) {
  return html`<section class="card" aria-labelledby="${id}"><h2 id="${id}">${heading}</h2>
    ${means && html`<p class="quiet">${means}</p>`}${content}</section>`;
}

// Services

const milliseconds = (value) => (value === null ? t('format.not-known') : t('models.milliseconds', { n: number(value) }));

function service(each, at) {
  const field = (member) => `services[${at}].${member}`;
  return html`<li class="service"><div class="service-head"><h3>${each.name}</h3>${stateBadge(each.state)}</div><dl class="facts">
    ${fact(t('models.version'), field('version'), each.version ?? t('format.not-known'))}
    ${fact(t('models.latency'), field('latency_ms'), milliseconds(each.latency_ms))}
    ${fact(t('models.latency-p99'), field('latency_p99_ms'), milliseconds(each.latency_p99_ms))}
    ${fact(t('models.calls'), field('n_calls'), number(each.n_calls))}
    <div class="fact-wide"><dt>${t('models.breaker')}</dt><dd class="breaker ${BREAKERS[each.breaker] ?? ''}">${figure(field('breaker'), named('breaker', each.breaker))}</dd></div>
    ${fact(t('models.last-error'), field('last_error'), each.last_error
      ? html`<code>${each.last_error}</code> <span class="quiet">${dateAndTime(each.last_error_at)}</span>` : t('models.no-error'), 'fact-wide')}
  </dl></li>`;
}

/** @param {object[]|ApiError} told @param {Date} at */
function services(told, at) {
  if (told instanceof Error) return failure(told);
  return html`<ul class="service-list">${told.map(service)}</ul><p class="quiet">${t('models.asked-at', { time: time(at) })} ${source('GET /v1/services')}</p>`;
}

// Cards

/** A metric as it is usually read. @param {string} metric @param {number|null|undefined} value */
export function metricValue(metric, value) {
  if (metric.endsWith('_usd')) return dollars(value);
  return SHARES.has(metric) ? percent(value) : decimal(value);
}

/**
 * Whether a measured figure reaches what was claimed.
 * @param {string} metric @param {number} claimed @param {{value: number, interval: number[]|null}|undefined} measured
 * @returns {'met'|'open'|'missed'|null} open: the claim lies within the interval; null: not measured
 */
export function verdict(metric, claimed, measured) {
  if (!measured) return null;
  const better = (value) => (ERRORS.has(metric) ? value <= claimed : value >= claimed);
  if (better(measured.value)) return 'met';
  return measured.interval?.some(better) ? 'open' : 'missed';
}

function interval(metric, measured) {
  if (!measured?.interval) return '';
  const [lower, upper] = measured.interval.map((end) => metricValue(metric, end));
  return t('models.from-to', { lower, upper });
}

function measuredCell(metric, measured, at) {
  return html`<strong>${figure(`variants[${at}].metrics.${metric}`, metricValue(metric, measured?.value))}</strong>
    <small>${interval(metric, measured)}</small>`;
}

function facts(model) {
  const { data } = model;
  const others = (model.versions_on_disk ?? []).filter((version) => version !== model.version);
  return html`<dl class="facts">
    ${fact(t('models.version'), 'version', model.version)}
    ${fact(t('models.other-versions'), 'versions_on_disk',
      model.versions_on_disk === null ? t('format.not-known') : others.join(', ') || t('models.none'))}
    ${fact(t('models.made-at'), 'created_at', dateAndTime(model.created_at))}
    ${fact(t('models.trained-on'), 'data.rows', data?.rows ? t('models.rows-of', { rows: number(data.rows), source: data.source ?? '' }) : t('format.not-known'))}
    ${fact(t('models.fingerprint'), 'data.fingerprint', data?.fingerprint ? html`<code>${data.fingerprint.slice(0, 12)}…</code>` : t('format.not-known'))}
    ${fact(t('models.runs-on'), 'platform', model.platform)}</dl>`;
}

function claims(model, variant, at) {
  const head = [
    [t('models.metric')], [t('models.claimed'), true], [t('models.measured-interval'), true], [t('models.verdict')],
  ];
  const row = ({ metric, claimed }, position) => {
    const measured = variant.metrics.find((each) => each.metric === metric);
    const found = verdict(metric, claimed, measured);
    return html`<tr><th scope="row">${named('metric', metric)}</th>
      <td class="figure">${figure(`claims[${position}].claimed`, metricValue(metric, claimed))}</td>
      <td class="figure">${measuredCell(metric, measured, at)}</td>
      <td>${found && badge(VERDICTS[found], t(`verdict.${found}`))}</td></tr>`;
  };
  const means = html`${t('models.claims-means', { rows: number(variant.rows), source: model.reported_on ?? t('format.not-known') })}
    ${source(`claims, variants[${at}].metrics`)}`;
  return model.claims.length > 0 && panel('claims-heading', t('models.claims'), means, table('claims-heading', head, model.claims.map(row)));
}

function furtherMetrics(model, variant, at) {
  const claimed = new Set(model.claims.map(({ metric }) => metric));
  const rest = variant.metrics.filter(({ metric }) => !claimed.has(metric));
  const head = [[t('models.metric')], [t('models.measured-interval'), true]];
  const row = (measured) => html`<tr><th scope="row">${named('metric', measured.metric)}</th>
    <td class="figure">${measuredCell(measured.metric, measured, at)}</td></tr>`;
  return rest.length > 0 && html`<section class="card"><details class="whole-card"><summary id="metrics-heading">${t('models.further-metrics')}</summary>
    ${table('metrics-heading', head, rest.map(row))}</details></section>`;
}

function calibration({ reliability: bins }, at) {
  if (bins.length === 0) return false;
  const head = [[t('models.stated'), true], [t('models.left'), true], [t('models.interval'), true], [t('models.rows'), true]];
  const row = (bin, position) => {
    const cell = (member, shown) => html`<td class="figure">${figure(`variants[${at}].reliability[${position}].${member}`, shown)}</td>`;
    const [lower, upper] = bin.share_interval.map(percent);
    return html`<tr>${cell('stated', percent(bin.stated))}${cell('share', percent(bin.share))}
      ${cell('share_interval', t('models.from-to', { lower, upper }))}${cell('rows', number(bin.rows))}</tr>`;
  };
  const texts = { label: t('models.calibration-label'), stated: t('models.stated'), left: t('models.left'), percent };
  return panel('calibration-heading', t('models.calibration'),
    html`${t('models.calibration-means')} ${source(`variants[${at}].reliability`)}`,
    html`${calibrationPlot(bins, texts)}<details class="whole-card"><summary>${t('panels.as-table')}</summary>
      ${table('calibration-heading', head, bins.map(row))}</details>`);
}

function drivers(model, { name }) {
  const sizes = Object.entries(model.drivers[name] ?? {});
  if (sizes.length === 0) return false;
  const most = Math.max(...sizes.map(([, size]) => size)) || 1;
  const isMoney = model.outputs[0]?.unit === 'usd';
  const size = (value) => (isMoney ? dollars(value) : t('models.points', { n: number(100 * value) }));
  const row = ([group, value]) => html`<tr><th scope="row">${named('group', group)}</th>
    <td class="figure">${figure(`drivers.${name}.${group}`, size(value))}${bar(value / most)}</td></tr>`;
  return panel('drivers-heading', t('models.drivers'), html`${t('models.drivers-means')} ${source(`drivers.${name}`)}`, html`
    ${table('drivers-heading', [[t('models.group')], [t('models.mean-effect'), true]], sizes.map(row))}
    <details><summary>${t('models.reference')}</summary><dl class="facts facts-small">${Object.entries(model.reference).map(([column, value]) =>
      fact(column.replaceAll('_', ' '), `reference.${column}`, typeof value === 'number' ? number(value) : value))}</dl></details>`);
}

function variantChoice({ variants }, chosen) {
  return html`<form class="variant-choice"><label for="variant">${t('models.variant')}</label>
    <select id="variant" name="variant" aria-describedby="variant-means">${variants.map(({ name }) => html`
      <option value="${name}" ${name === chosen.name && html`selected`}>${named('variant-name', name)}</option>`)}</select>
    <small id="variant-means">${t('models.variant-means')}</small></form>`;
}

/** @param {object} model as the API tells it @param {string|null} wanted the name of a variant */
function card(model, wanted) {
  const at = Math.max(0, model.variants.findIndex(({ name }) => name === wanted));
  const variant = model.variants[at];
  return html`<section class="card" aria-labelledby="model-heading">
      <div class="service-head"><h2 id="model-heading">${named('model', model.name)}</h2>${stateBadge(model.state)}</div>
      ${model.state !== 'ready' && html`<div class="notice tone-medium"><p>${t('models.last-known')}</p></div>`}
      ${has(`model-means.${model.name}`) && html`<p>${t(`model-means.${model.name}`)}</p>`}
      ${facts(model)}
      ${model.notes.length > 0 && html`<div class="notice tone-medium"><h3>${t('models.limits')}</h3>
        <ul lang="en" data-field="notes">${model.notes.map((note) => html`<li>${note}</li>`)}</ul></div>`}</section>
    ${variant && html`${variantChoice(model, variant)}<div class="panels">
      <div class="stack">${claims(model, variant, at)}${furtherMetrics(model, variant, at)}</div>
      <div class="stack">${calibration(variant, at)}${drivers(model, variant)}</div></div>`}
    ${model.card && html`<section class="card"><details class="whole-card"><summary>${t('models.whole-card')}</summary>
      <div lang="en" data-field="card">${markdown(model.card)}</div></details></section>`}`;
}

// The view

function cardLinks(models, chosen) {
  return html`${models.map(({ name }) => html`<a role="button" class="chip" href="${address('models', { model: name })}"
    ${name === chosen && html`aria-current="true"`}>${named('model', name)}</a>`)}`;
}

function page() {
  return html`<div class="panels-head"><div><h1>${t('view.models')}</h1><p class="quiet">${t('models.means')}</p></div>
      <label class="fields-switch"><input type="checkbox" role="switch" id="fields"> ${t('panels.show-fields')}</label></div>
    <section class="card" aria-labelledby="services-heading"><h2 id="services-heading">${t('models.services')}</h2>
      <p class="quiet">${t('models.services-means')}</p><div id="live-services">${loading()}</div></section>
    <nav class="actions model-nav" aria-label="${t('models.cards')}"></nav><div id="card" class="model-card" tabindex="-1">${loading()}</div>`;
}

/** @param {import('../views.js').Place} place */
export function show({ root, store, params, signal, write }) {
  draw(root, page());
  const byId = (id) => root.querySelector(`#${id}`);
  const content = byId('card');
  let shown = { model: null, variant: null };
  let known;
  let asked = 0;

  /** What was asked for, or why there is nothing; null when nobody waits any more. */
  async function toldBy(asking) {
    let told;
    try {
      told = await asking;
    } catch (error) {
      if (!signal.aborted && !(error instanceof ApiError)) throw error;
      told = error;
    }
    return signal.aborted ? null : told;
  }

  let timer;
  let failed;
  async function keepAsking() {
    if (!document.hidden) {
      const told = await toldBy(allServices(signal));
      if (told === null) return;
      // What fails again and again is told once.
      if (!(told instanceof Error) || told.message !== failed) draw(byId('live-services'), services(told, new Date()));
      failed = told instanceof Error ? told.message : undefined;
    }
    timer = setTimeout(keepAsking, EVERY_MS);
  }

  function drawCard() {
    const again = html`<button type="button" class="secondary outline" data-action="again">${t('panels.again')}</button>`;
    const stoodOn = document.activeElement;
    const wasInside = content.contains(stoodOn);
    draw(content, known instanceof Error ? failure(known, { action: again }) : card(known, shown.variant));
    // Whoever stood on something stands on what is in its place, and sees what they saw.
    if (wasInside) ((stoodOn.id && byId(stoodOn.id)) || content).focus({ preventScroll: true });
  }

  async function ask() {
    const mine = (asked += 1);
    content.setAttribute('aria-busy', 'true');
    let told = await toldBy(allModels(signal));
    // What stands above comes first: a card that is being read is not moved.
    await servicesTold;
    if (Array.isArray(told)) {
      const { name } = told.find((each) => each.name === shown.model) ?? told[0];
      if (mine === asked) redraw(root.querySelector('.model-nav'), cardLinks(told, name));
      told = await toldBy(modelOf(name, signal));
    }
    if (told === null || mine !== asked) return;
    content.removeAttribute('aria-busy');
    known = told;
    drawCard();
  }

  function take(asking) {
    const isOther = asked === 0 || asking.get('model') !== shown.model;
    shown = { model: asking.get('model'), variant: asking.get('variant') };
    if (isOther) ask();
    else if (known) drawCard();
  }

  content.addEventListener('change', ({ target }) => {
    if (target.id !== 'variant') return;
    shown.variant = target.value;
    write({ ...(shown.model && { model: shown.model }), variant: target.value });
    drawCard();
  }, { signal });
  content.addEventListener('click', ({ target }) => target.closest('[data-action="again"]') && ask(), { signal });
  byId('fields').addEventListener('change', ({ target }) => root.classList.toggle('shows-fields', target.checked), { signal });
  signal.addEventListener('abort', () => root.classList.remove('shows-fields'));

  signal.addEventListener('abort', () => clearTimeout(timer));
  // Should they not be drawn, that is reported, and the cards are shown all the same.
  const servicesTold = keepAsking().catch(reportError);
  take(params);
  whenSignedIn(store, ask, signal);
  return { update: take };
}
