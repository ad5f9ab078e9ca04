import assert from 'node:assert/strict';
import { before, test } from 'node:test';

import { calibrationPlot } from '../../../frontend/site/js/components/calibration-plot.js';
import { markdown } from '../../../frontend/site/js/components/markdown.js';
import { speak } from '../../../frontend/site/js/language.js';
import { metricValue, verdict } from '../../../frontend/site/js/views/models.js';

before(() => speak('en'));

test('a claim is met, missed, or left open by an interval that it lies in', () => {
  assert.equal(verdict('recall', 0.8, { value: 0.87, interval: [0.8, 0.93] }), 'met');
  assert.equal(verdict('recall', 0.9, { value: 0.87, interval: [0.8, 0.93] }), 'open');
  assert.equal(verdict('recall', 0.95, { value: 0.87, interval: [0.8, 0.93] }), 'missed');
  assert.equal(verdict('recall', 0.9, { value: 0.87, interval: null }), 'missed');
  assert.equal(verdict('recall', 0.9, undefined), null);
});

test('of an error, less is better', () => {
  assert.equal(verdict('mae_usd', 2_450, { value: 841, interval: [797, 884] }), 'met');
  assert.equal(verdict('mae_usd', 800, { value: 841, interval: [797, 884] }), 'open');
  assert.equal(verdict('mae_usd', 700, { value: 841, interval: [797, 884] }), 'missed');
});

test('metrics are written as they are usually read', () => {
  assert.equal(metricValue('accuracy', 0.9821), '98.2%');
  assert.equal(metricValue('mae_usd', 841.4), '$841');
  assert.equal(metricValue('log_loss', 0.08832), '0.088');
  assert.equal(metricValue('recall', undefined), 'not known');
});

const CARD = `# Churn model

First line,
second line.

## Measured

| variant | f1 |
| --- | --- |
| usage | 0.93 (0.88 to 0.97) |

![A picture](plot.svg)

- one <b>
- two
`;

test('a card keeps its headings below those of the page, its tables and its lists', () => {
  const markup = markdown(CARD).map((each) => each.markup).join('');
  assert.match(markup, /<h3>Churn model<\/h3><p>First line, second line\.<\/p><h4>Measured<\/h4>/);
  assert.match(markup, /<th scope="col">f1<\/th>/);
  assert.match(markup, /<td>0\.93 \(0\.88 to 0\.97\)<\/td>/);
  assert.match(markup, /aria-label="Measured"/);
  assert.match(markup, /<li>one &lt;b&gt;<\/li><li>two<\/li>/);
  assert.doesNotMatch(markup, /picture|<img/i);
});

test('what is no Markdown that cards are written in is text', () => {
  assert.equal(markdown('<script>x</script>')[0].markup, '<p>&lt;script&gt;x&lt;/script&gt;</p>');
  assert.equal(markdown('[a](javascript:x)')[0].markup, '<p>[a](javascript:x)</p>');
  assert.deepEqual(markdown(''), []);
});

test('a calibration plot has a dot and an interval for each bin, where they belong', () => {
  const bins = [
    { stated: 0, share: 0, share_interval: [0, 0.1], rows: 10 },
    { stated: 1, share: 0.5, share_interval: [0.4, 0.6], rows: 1_000 },
  ];
  const { markup } = calibrationPlot(bins, { label: 'l', stated: 's', left: 'f', percent: String });
  const dots = [...markup.matchAll(/<circle class="dot" cx="([\d.]+)" cy="([\d.]+)" r="([\d.]+)">/g)].map((found) => found.slice(1).map(Number));
  assert.deepEqual(dots.map(([x, y]) => [x, y]), [[54, 272], [314, 142]]);
  assert.ok(dots[0][2] < dots[1][2], 'more customers are a larger dot');
  assert.match(markup, /class="whisker" x1="54" x2="54"\s+y1="272" y2="246"/);
});
