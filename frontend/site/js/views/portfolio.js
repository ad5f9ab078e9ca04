// The view of an executive: who may leave, what that would cost, where, and what is to be expected. The API is asked once
// for each span of days; every figure names the member of the reply that it is.

import { ApiError, portfolio } from '../api.js';
import { bar } from '../components/bar.js';
import { drawChart } from '../components/chart.js';
import { failure, loading } from '../components/states.js';
import { tierBadge, tierWord, toneOf } from '../components/tier.js';
import { dateAndTime, day, dollars, number, percent, shortDollars, signedPercent } from '../format.js';
import { draw, html, redraw } from '../html.js';
import { formFor, has, t, th, tn } from '../language.js';
import { address } from '../router.js';
import { whenSignedIn } from '../store.js';

const TIERS = [
  { tier: 'High', colour: '--chart-high', member: 'high' },
  { tier: 'Medium', colour: '--chart-medium', member: 'medium' },
  { tier: 'Low', colour: '--chart-low', member: 'low' },
];
const PRESETS_DAYS = [7, 30, 90];
// More than these are folded away.
const STATES_SHOWN = 10;
const DAY_MS = 86_400_000;

const isoDay = (moment) => moment.toISOString().slice(0, 10);

/** So many days up to today, by UTC as the API counts them. @param {number} days @param {Date} now */
export function lastDays(days, now = new Date()) {
  return { from: isoDay(new Date(now.getTime() - (days - 1) * DAY_MS)), to: isoDay(now) };
}

/** The calendar month before this one, by UTC as the API counts days. @param {Date} now */
export function lastMonth(now = new Date()) {
  const first = (monthsBack) => Date.UTC(now.getUTCFullYear(), now.getUTCMonth() - monthsBack, 1);
  return { from: isoDay(new Date(first(1))), to: isoDay(new Date(first(0) - DAY_MS)) };
}

/** A day of the calendar, or nothing: what stands in an address may be anything. @param {string|null} value */
export function dayIn(value) {
  const moment = new Date(/^(?!0000)\d{4}-\d{2}-\d{2}$/.test(value ?? '') ? `${value}T00:00:00Z` : NaN);
  return !Number.isNaN(moment.getTime()) && isoDay(moment) === value ? value : null;
}

/** The member of the reply that a figure is. @param {string} field */
const source = (field) => html`<code class="source">${field}</code>`;

const figure = (field, text) => html`<span data-field="${field}">${text}</span>`;

/** A sentence that depends on the number in it. */
const counted = (key, field, count) => th(formFor(key, count), { count: figure(field, number(count)) });

/** Of how many customers the revenue is known. */
const knownRevenue = (total) => ({
  known: figure('total.customers_with_revenue', number(total.customers_with_revenue)),
  all: figure('total.customers', number(total.customers)),
});

/** A table that scrolls by itself where it is wider than the screen. */
function table(labelledBy, head, rows) {
  return html`<div class="table-scroll" role="group" tabindex="0" aria-labelledby="${labelledBy}">
    <table><thead><tr>${head.map(([text, isNumber]) => html`
      <th scope="col" ${isNumber && html`class="figure"`}>${text}</th>`)}</tr></thead><tbody>${rows}</tbody></table></div>`;
}

// Tiles

function tile(field, label, value, more) {
  return html`<div class="total-tile"><dt>${label}</dt><dd class="tile-value">${figure(field, value)}</dd>
    <dd class="quiet">${more} ${source(field)}</dd></div>`;
}

function tiles({ total }) {
  const mean = 'total.mean_churn_probability';
  return html`<dl class="total-tiles">
    ${tile('total.value_at_risk', t('portfolio.value-at-risk'), dollars(total.value_at_risk), t('portfolio.value-at-risk-means'))}
    ${tile('total.customers', t('portfolio.customers'), number(total.customers),
      html`${th('portfolio.mean-probability', { share: figure(mean, percent(total.mean_churn_probability)) })} ${source(mean)}`)}
    ${tile('total.monthly_revenue', t('portfolio.monthly-revenue'), dollars(total.monthly_revenue),
      html`${th('portfolio.revenue-known', knownRevenue(total))} ${source('total.customers_with_revenue')}`)}
    ${tile('total.avg_clv', t('portfolio.average-value'), dollars(total.avg_clv),
      html`${t('portfolio.average-value-means')} <a href="#notes">${t('portfolio.see-notes')}</a>`)}</dl>`;
}

// Tiers

const TIER_FIGURES = [
  { member: 'customers', label: 'portfolio.customers', write: number, isShared: true },
  { member: 'value_at_risk', label: 'portfolio.value-at-risk', write: dollars, isShared: true },
  { member: 'avg_clv', label: 'portfolio.average-value', write: dollars },
  { member: 'monthly_revenue', label: 'portfolio.monthly-revenue', write: dollars },
];

function tierRow({ tier }, { tiers, total }) {
  const at = tiers.findIndex((each) => each.tier === tier);
  const group = tiers[at];
  const cell = ({ member, label, write, isShared }) => html`<td role="cell" class="figure" data-label="${t(label)}">
    ${figure(`tiers[${at}].${member}`, write(group[member]))}
    ${isShared && bar(total[member] ? group[member] / total[member] : 0)} ${source(`tiers[${at}].${member}`)}</td>`;
  return html`<tr role="row" class="${toneOf(tier)}"><th role="rowheader" scope="row">${tierBadge(tier, { isShort: true })}</th>
    ${TIER_FIGURES.map(cell)}</tr>`;
}

function byTier(reply) {
  // Each with its role: on a small screen rows are drawn as blocks, which some browsers no longer take for rows.
  return html`<section class="card panel-wide" aria-labelledby="tiers-heading"><h2 id="tiers-heading">${t('portfolio.by-tier')}</h2>
    <div class="table-scroll" role="group" tabindex="0" aria-labelledby="tiers-heading"><table role="table" class="tiers">
      <thead role="rowgroup"><tr role="row"><th role="columnheader" scope="col">${t('portfolio.tier')}</th>${TIER_FIGURES.map(({ label }) => html`
        <th role="columnheader" scope="col" class="figure">${t(label)}</th>`)}</tr></thead>
      <tbody role="rowgroup">${TIERS.map((each) => tierRow(each, reply))}</tbody></table></div></section>`;
}

// Over time

const daysOf = ({ from, to }) => (from === to ? day(from) : t('portfolio.days-from-to', { from: day(from), to: day(to) }));

function overTime({ over_time: { buckets, bucket_days: length } }) {
  const head = [[t('portfolio.days')], [t('portfolio.predictions'), true], ...TIERS.map(({ tier }) => [tierWord(tier), true])];
  const field = (at, member) => `over_time.buckets[${at}].${member}`;
  const cell = (at, member) => html`<td class="figure">${figure(field(at, member), number(buckets[at][member]))}</td>`;
  const days = ({ from, to }, at) => (from === to ? figure(field(at, 'from'), day(from))
    : th('portfolio.days-from-to', { from: figure(field(at, 'from'), day(from)), to: figure(field(at, 'to'), day(to)) }));
  return html`<section class="card panel-wide" aria-labelledby="time-heading"><h2 id="time-heading">${t('portfolio.over-time')}</h2>
    <p class="quiet">${counted('portfolio.over-time-means', 'over_time.bucket_days', length)} ${source('over_time.buckets')}</p>
    <div class="chart"><canvas id="time-chart" role="img" aria-label="${t('portfolio.over-time-chart')}"></canvas></div>
    <details><summary>${t('panels.as-table')}</summary>
      ${table('time-heading', head, buckets.map((bucket, at) => html`<tr><th scope="row">${days(bucket, at)}</th>
        ${cell(at, 'predictions')}${TIERS.map(({ member }) => cell(at, member))}</tr>`))}</details></section>`;
}

/** @param {object} reply @returns {(colour: (name: string) => string) => object} what Chart.js draws */
const timeChart = ({ over_time: { buckets } }) => (colour) => ({
  type: 'bar',
  data: {
    labels: buckets.map(daysOf),
    datasets: TIERS.map(({ tier, colour: name, member }) => ({
      label: tierWord(tier),
      data: buckets.map((bucket) => bucket[member]),
      backgroundColor: colour(name),
      // A line between two colours, for those who cannot tell them apart.
      borderColor: colour('--surface'),
      borderWidth: { top: 1.5 },
      maxBarThickness: 56,
    })),
  },
  options: {
    scales: {
      x: { stacked: true, grid: { display: false }, ticks: { maxRotation: 0, autoSkipPadding: 20 } },
      y: { stacked: true, beginAtZero: true, border: { display: false }, ticks: { precision: 0, callback: (value) => number(value) } },
    },
    plugins: { legend: { align: 'start', labels: { boxWidth: 12, boxHeight: 12 } } },
    interaction: { mode: 'index', intersect: false },
  },
});

// Forecast

function assumptions({ forecast, total }) {
  const told = ({ code, text }) => (has(`assumption.${code}`) ? th(`assumption.${code}`, knownRevenue(total))
    : html`<span lang="en">${text}</span>`);
  return html`<div class="assumptions"><h3>${t('portfolio.assumptions')}</h3>
    <ul>${forecast.assumptions.map((each) => html`<li>${told(each)}</li>`)}</ul>${source('forecast.assumptions')}</div>`;
}

function forecast(reply) {
  const { forecast: { months }, total } = reply;
  const heading = html`<h2 id="forecast-heading">${t('portfolio.forecast')}</h2>`;
  if (months.length === 0) {
    return html`<section class="card panel-wide" aria-labelledby="forecast-heading">${heading}
      <div class="chart-beside"><p>${t('portfolio.no-revenue')}</p>${assumptions(reply)}</div></section>`;
  }
  const field = (at) => `forecast.months[${at}].expected_revenue`;
  const month = (at) => figure(`forecast.months[${at}].month`, number(months[at].month));
  const end = months.length - 1;
  const change = total.monthly_revenue ? months[end].expected_revenue / total.monthly_revenue - 1 : null;
  const besideNow = {
    now: figure('total.monthly_revenue', dollars(total.monthly_revenue)),
    change: figure(`${field(end)} / total.monthly_revenue - 1`, signedPercent(change)),
  };
  const head = [[t('portfolio.months-from-now')], [t('portfolio.expected-revenue'), true]];
  return html`<section class="card panel-wide" aria-labelledby="forecast-heading">${heading}<div class="chart-beside"><div>
      <p class="headline">${th('portfolio.forecast-headline', { month: month(end) })}
        <strong>${figure(field(end), dollars(months[end].expected_revenue))}</strong>
        <span class="quiet">${th('portfolio.forecast-now', besideNow)}</span>
        ${source(field(end))} ${source('total.monthly_revenue')}</p>
      <div class="chart"><canvas id="forecast-chart" role="img" aria-label="${t('portfolio.forecast-chart')}"></canvas></div>
      <details><summary>${t('panels.as-table')}</summary>
        ${table('forecast-heading', head, months.map((each, at) => html`<tr><th scope="row">${month(at)}</th>
          <td class="figure">${figure(field(at), dollars(each.expected_revenue))}</td></tr>`))}</details>
    </div>${assumptions(reply)}</div></section>`;
}

/** @param {object} reply @returns {(colour: (name: string) => string) => object} what Chart.js draws */
const forecastChart = ({ forecast: { months }, total }) => (colour) => ({
  type: 'bar',
  data: {
    labels: [t('portfolio.now'), ...months.map(({ month }) => `+${number(month)}`)],
    datasets: [{
      data: [total.monthly_revenue, ...months.map((each) => each.expected_revenue)],
      backgroundColor: [colour('--chart-now'), ...months.map(() => colour('--chart-later'))],
      borderRadius: 3,
    }],
  },
  options: {
    scales: {
      x: { grid: { display: false }, title: { display: true, text: t('portfolio.months-from-now') } },
      y: { beginAtZero: true, border: { display: false }, ticks: { maxTicksLimit: 6, callback: (value) => shortDollars(value) } },
    },
    plugins: { legend: { display: false }, tooltip: { callbacks: { label: ({ parsed }) => dollars(parsed.y) } } },
  },
});

// States

function stateTable(states, begin, labelledBy) {
  const most = states[0]?.value_at_risk || 1;
  const head = [
    [t('portfolio.state')], [t('portfolio.value-at-risk'), true], [t('portfolio.customers'), true], [t('portfolio.high-risk'), true],
  ];
  const row = (state, at) => {
    const cell = (member, shown) => figure(`states[${at}].${member}`, shown);
    return html`<tr><th scope="row">${state.state}</th>
      <td class="figure">${cell('value_at_risk', dollars(state.value_at_risk))}${bar(state.value_at_risk / most)}</td>
      <td class="figure">${cell('customers', number(state.customers))}</td>
      <td class="figure">${cell('high_risk_customers', number(state.high_risk_customers))}</td></tr>`;
  };
  const [first, last] = begin;
  return table(labelledBy, head, states.slice(first, last).map((state, at) => row(state, first + at)));
}

function byState({ states }) {
  const n = states.length - STATES_SHOWN;
  return html`<section class="card" aria-labelledby="states-heading"><h2 id="states-heading">${t('portfolio.by-state')}</h2>
    <p class="quiet">${t('portfolio.by-state-means')} ${source('states')}</p>
    ${stateTable(states, [0, STATES_SHOWN], 'states-heading')}
    ${n > 0 && html`<details><summary id="more-states">${tn('portfolio.more-states', n)}</summary>
      ${stateTable(states, [STATES_SHOWN], 'more-states')}</details>`}</section>`;
}

// Traits

function traitSide(trait, at, side) {
  const { customers, mean_churn_probability: mean } = trait[side];
  const field = `traits[${at}].${side}`;
  return html`<div class="trait-side"><span>${t(`portfolio.${side}`)}</span>${bar(mean ?? 0, side === 'with' && 'bar-strong')}
    <span class="figure"><strong>${figure(`${field}.mean_churn_probability`, percent(mean))}</strong>
      <span class="quiet">${counted('portfolio.of-customers', `${field}.customers`, customers)}</span></span>
    ${source(`${field}.mean_churn_probability`)}</div>`;
}

function traits({ traits: all }) {
  return html`<section class="card" aria-labelledby="traits-heading"><h2 id="traits-heading">${t('portfolio.traits')}</h2>
    <p class="quiet">${t('portfolio.traits-means')} <a href="${address('models')}">${t('portfolio.to-drivers')}</a></p>
    ${all.map((trait, at) => html`<div class="trait">
      <h3>${has(`trait.${trait.trait}`) ? t(`trait.${trait.trait}`) : html`<span lang="en">${trait.description}</span>`}</h3>
      ${traitSide(trait, at, 'with')}${traitSide(trait, at, 'without')}
      ${trait.unknown > 0 && html`<p class="quiet">${counted('portfolio.unknown-of', `traits[${at}].unknown`, trait.unknown)}
        ${source(`traits[${at}].unknown`)}</p>`}</div>`)}</section>`;
}

// The view

function figures(reply) {
  return html`<p class="quiet">${th('portfolio.as-of', { moment: figure('as_of', dateAndTime(reply.as_of)) })} ${source('as_of')}</p>
    ${tiles(reply)}<div class="panels">${byTier(reply)}${forecast(reply)}${overTime(reply)}${byState(reply)}${traits(reply)}</div>`;
}

/** What stands there while nobody has been predicted, or nobody in the span: says what to do first. */
function nobody({ from, to }) {
  const isLimited = Boolean(from || to);
  const key = isLimited ? 'portfolio.nobody-in-span' : 'portfolio.nobody';
  return html`<div class="state empty card"><h2>${t(key)}</h2><p>${t(`${key}-text`)}</p><p class="actions">${isLimited
    ? html`<a role="button" href="${address('portfolio')}">${t('portfolio.show-all')}</a>`
    : html`<a role="button" href="${address('analyze')}">${t('portfolio.to-analyze')}</a>
      <a role="button" class="secondary outline" href="${address('customers')}">${t('portfolio.to-customers')}</a>`}</p></div>`;
}

/** @param {{from: string|null, to: string|null}} shown @param {object} kept what stays in the address */
function presets({ from, to }, kept) {
  const all = [
    [t('portfolio.all-days'), {}],
    ...PRESETS_DAYS.map((days) => [tn('portfolio.last-days', days), lastDays(days)]),
    [t('portfolio.last-month'), lastMonth()],
  ];
  return html`${all.map(([text, span]) => html`<a role="button" class="chip" href="${address('portfolio', { ...span, ...kept })}"
    ${from === (span.from ?? null) && to === (span.to ?? null) && html`aria-current="true"`}>${text}</a>`)}`;
}

function page() {
  return html`<div class="panels-head"><div><h1>${t('view.portfolio')}</h1><p class="quiet">${t('portfolio.means')}</p></div>
      <form class="span-form" novalidate>
        <div><label for="from">${t('portfolio.from')}</label><input type="date" id="from" name="from" aria-describedby="span-error"></div>
        <div><label for="to">${t('portfolio.to')}</label><input type="date" id="to" name="to" aria-describedby="span-error"></div>
        <button type="submit" class="secondary outline">${t('portfolio.apply')}</button>
        <small class="field-error" id="span-error" role="alert"></small>
      </form></div>
    <div class="panels-tools"><nav class="actions presets" aria-label="${t('portfolio.spans')}"></nav>
      <div class="data-tools"><label class="fields-switch"><input type="checkbox" role="switch" id="fields"> ${t('panels.show-fields')}</label>
        <a id="as-data" href="v1/portfolio">${t('portfolio.as-data')}</a></div></div>
    <div id="figures" tabindex="-1">${loading()}</div>`;
}

/** @param {import('../views.js').Place} place */
export function show({ root, store, params, signal, write }) {
  draw(root, page());
  const byId = (id) => root.querySelector(`#${id}`);
  const [form, content] = [root.querySelector('.span-form'), byId('figures')];
  let span = {};
  // A newer question makes the answer to an older one worthless.
  let asked = 0;

  async function drawCharts(reply) {
    try {
      for (const [where, configuration] of [['#time-chart', timeChart(reply)], ['#forecast-chart', forecastChart(reply)]]) {
        const canvas = content.querySelector(where);
        if (canvas) await drawChart(canvas, configuration, signal);
      }
    } catch {
      // Without its library a chart is a table: the same figures.
      for (const chart of content.querySelectorAll('.chart')) {
        chart.parentElement.querySelector('details').open = true;
        chart.remove();
      }
    }
  }

  async function ask() {
    const mine = (asked += 1);
    content.setAttribute('aria-busy', 'true');
    let told;
    try {
      const reply = await portfolio(span, signal);
      told = { reply, markup: reply.total.customers === 0 ? nobody(span) : figures(reply) };
    } catch (error) {
      if (!signal.aborted && !(error instanceof ApiError)) throw error;
      const again = html`<button type="button" class="secondary outline" data-action="again">${t('panels.again')}</button>`;
      told = { markup: failure(error, { action: again }) };
    }
    if (signal.aborted || mine !== asked) return;
    content.removeAttribute('aria-busy');
    const wasInside = content.contains(document.activeElement);
    draw(content, told.markup);
    if (wasInside) content.focus({ preventScroll: true });
    if (told.reply?.total.customers) await drawCharts(told.reply);
  }

  /** What is wrong with the days, and which of them it is. @param {string} text empty: nothing is @param {Element} [field] */
  function tellError(text, field) {
    byId('span-error').textContent = text;
    for (const each of [form.elements.from, form.elements.to]) each.ariaInvalid = each === field ? 'true' : null;
    field?.focus();
  }

  function take(asking) {
    span = { from: dayIn(asking.get('from')), to: dayIn(asking.get('to')) };
    const showsFields = asking.get('fields') === 'shown';
    for (const name of ['from', 'to']) form.elements[name].value = span[name] ?? '';
    tellError('');
    byId('fields').checked = showsFields;
    root.classList.toggle('shows-fields', showsFields);
    drawPresets();
    byId('as-data').href = `v1/portfolio?${new URLSearchParams(Object.entries(span).filter(([, value]) => value))}`;
    ask();
  }

  function drawPresets() {
    redraw(root.querySelector('.presets'), presets(span, byId('fields').checked ? { fields: 'shown' } : {}));
  }

  const state = (more) => Object.fromEntries(Object.entries({ ...span, ...more }).filter(([, value]) => value));
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    const { from, to } = form.elements;
    // Such a field gives no text for what is no day.
    const unreadable = [from, to].find(({ validity }) => validity.badInput);
    if (unreadable) {
      tellError(t('portfolio.bad-day'), unreadable);
      return;
    }
    const wanted = { from: from.value, to: to.value };
    if (wanted.from && wanted.to && wanted.from > wanted.to) {
      tellError(t('portfolio.bad-span'), from);
      return;
    }
    const next = state({ ...wanted, fields: byId('fields').checked && 'shown' });
    write(next, { isStep: true });
    take(new URLSearchParams(next));
  }, { signal });
  byId('fields').addEventListener('change', ({ target }) => {
    root.classList.toggle('shows-fields', target.checked);
    drawPresets();
    write(state({ fields: target.checked && 'shown' }));
  }, { signal });
  content.addEventListener('click', ({ target }) => target.closest('[data-action="again"]') && ask(), { signal });
  signal.addEventListener('abort', () => root.classList.remove('shows-fields'));

  take(params);
  whenSignedIn(store, ask, signal);
  return { update: take };
}
