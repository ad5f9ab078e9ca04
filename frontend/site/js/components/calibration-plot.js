// Whether a stated probability comes true: share that left against stated probability, with intervals.

import { html } from '../html.js';

const SIZE = 260;
const MARGIN = { left: 54, bottom: 42, top: 12, right: 22 };
const TICKS = [0, 0.25, 0.5, 0.75, 1];

const x = (share) => MARGIN.left + share * SIZE;
const y = (share) => MARGIN.top + (1 - share) * SIZE;
// By area, and never too small to be seen.
const radius = (rows, most) => 3 + 7 * Math.sqrt(rows / most);

/**
 * @param {Array<{stated: number, share: number, share_interval: number[], rows: number}>} bins
 * @param {{label: string, stated: string, left: string, percent: (share: number) => string}} texts
 */
export function calibrationPlot(bins, { label, stated, left, percent }) {
  const most = Math.max(...bins.map(({ rows }) => rows));
  const [width, height] = [MARGIN.left + SIZE + MARGIN.right, MARGIN.top + SIZE + MARGIN.bottom];
  return html`<svg class="calibration" viewBox="0 0 ${width} ${height}" role="img" aria-label="${label}">
    ${TICKS.map((tick) => html`
      <line class="grid" x1="${x(tick)}" x2="${x(tick)}" y1="${y(0)}" y2="${y(1)}"></line>
      <line class="grid" x1="${x(0)}" x2="${x(1)}" y1="${y(tick)}" y2="${y(tick)}"></line>
      <text x="${x(tick)}" y="${y(0) + 16}" text-anchor="middle">${percent(tick)}</text>
      <text x="${x(0) - 6}" y="${y(tick) + 4}" text-anchor="end">${percent(tick)}</text>`)}
    <line class="ideal" x1="${x(0)}" y1="${y(0)}" x2="${x(1)}" y2="${y(1)}"></line>
    ${bins.map((bin) => html`<line class="whisker" x1="${x(bin.stated)}" x2="${x(bin.stated)}"
        y1="${y(bin.share_interval[0])}" y2="${y(bin.share_interval[1])}"></line>
      <circle class="dot" cx="${x(bin.stated)}" cy="${y(bin.share)}" r="${radius(bin.rows, most).toFixed(1)}"></circle>`)}
    <text class="axis" x="${x(0.5)}" y="${height - 6}" text-anchor="middle">${stated}</text>
    <text class="axis" x="12" y="${y(0.5)}" text-anchor="middle" transform="rotate(-90 12 ${y(0.5)})">${left}</text>
  </svg>`;
}
