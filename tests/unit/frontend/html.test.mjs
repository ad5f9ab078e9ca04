import assert from 'node:assert/strict';
import { test } from 'node:test';

import { html } from '../../../frontend/site/js/html.js';

test('values are escaped, also inside attributes', () => {
  const hostile = `<img src=x onerror="alert('1')">&`;
  assert.equal(
    html`<p title="${hostile}">${hostile}</p>`.markup.includes('<img'),
    false,
  );
  assert.match(html`${hostile}`.markup, /^&lt;img src=x onerror=&quot;alert\(&#39;1&#39;\)&quot;&gt;&amp;$/);
});

test('templates nest, arrays are joined, and what is not there leaves no word', () => {
  const list = ['a', '<b>'].map((each) => html`<li>${each}</li>`);
  assert.equal(html`<ul>${list}${null}${undefined}${false}</ul>`.markup, '<ul><li>a</li><li>&lt;b&gt;</li></ul>');
  assert.equal(html`${0}`.markup, '0');
});
