// Where a probability lies between the limits of the tiers. The words beside it say the same.

import { percent } from '../format.js';
import { html } from '../html.js';

// Most customers lie below one half: the tiers get the room, as a square root.
const place = (share) => 100 * Math.sqrt(share);

/**
 * @param {number} probability from 0 to 1
 * @param {{medium_from: number, high_from: number}} policy
 */
export function probabilityScale(probability, policy) {
  const [medium, high] = [place(policy.medium_from), place(policy.high_from)];
  const mark = Math.min(Math.max(place(probability), 0.6), 99.4);
  return html`<div class="scale">
    <svg viewBox="0 0 100 10" preserveAspectRatio="none" role="img"
      aria-label="${percent(probability)}; Medium begins at ${percent(policy.medium_from)}, High at ${percent(policy.high_from)}">
      <rect class="zone-low" x="0" y="2" width="${medium}" height="6" stroke-width="0.2"/>
      <rect class="zone-medium" x="${medium}" y="2" width="${high - medium}" height="6" stroke-width="0.2"/>
      <rect class="zone-high" x="${high}" y="2" width="${100 - high}" height="6" stroke-width="0.2"/>
      <rect class="mark" x="${mark - 0.5}" y="0" width="1" height="10"/>
    </svg>
    <div class="scale-labels quiet" aria-hidden="true">
      <span>● Low</span><span>◆ Medium from ${percent(policy.medium_from)}</span><span>▲ High from ${percent(policy.high_from)}</span>
    </div>
  </div>`;
}
