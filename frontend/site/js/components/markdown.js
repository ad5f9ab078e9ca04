// The part of Markdown that model cards are written in: headings, paragraphs, lists and tables. Everything else is text.

import { html } from '../html.js';

const cells = (line) => line.trim().replace(/^\||\|$/g, '').split('|').map((cell) => cell.trim());
const RULE = /^\|(\s*:?-+:?\s*\|)+$/;

function table(lines, label) {
  const [head, , ...rows] = lines;
  return html`<div class="table-scroll" role="group" tabindex="0" aria-label="${label}"><table><thead><tr>
    ${cells(head).map((cell) => html`<th scope="col">${cell || '\u00a0'}</th>`)}</tr></thead>
    <tbody>${rows.map((row) => html`<tr>${cells(row).map((cell) => html`<td>${cell}</td>`)}</tr>`)}</tbody></table></div>`;
}

/**
 * @param {string} text
 * @param {number} [level] of the text's first heading in the page
 * @returns {import('../html.js').SafeHtml[]}
 */
export function markdown(text, level = 3) {
  let latest = '';
  return text.split(/\n{2,}/).flatMap((block) => {
    const lines = block.split('\n').filter((line) => line.trim());
    if (lines.length === 0) return [];
    const heading = /^(#+) (.*)$/.exec(lines[0]);
    if (heading) {
      latest = heading[2];
      const depth = Math.min(level + heading[1].length - 1, 6);
      // A heading's level is not a value that `html` could set.
      const made = { 2: html`<h2>${latest}</h2>`, 3: html`<h3>${latest}</h3>`, 4: html`<h4>${latest}</h4>` };
      return [made[depth] ?? html`<h5>${latest}</h5>`, ...markdown(lines.slice(1).join('\n'), level)];
    }
    if (lines.length > 1 && RULE.test(lines[1])) return [table(lines, latest)];
    if (lines.every((line) => line.startsWith('- '))) return [html`<ul>${lines.map((line) => html`<li>${line.slice(2)}</li>`)}</ul>`];
    // Pictures lie beside the card in the model's folder, where the page does not reach.
    if (/^!\[.*\]\(.*\)$/.test(block.trim())) return [];
    return [html`<p>${lines.join(' ')}</p>`];
  });
}
