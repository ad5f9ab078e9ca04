// Charts by Chart.js, which is loaded where the first one is drawn. Each stands beside a table with the same figures.

const SOURCE = new URL('../../vendor/chart.js/chart.umd.min.js', import.meta.url);

let loading;

/** @returns {Promise<Function>} Chart.js; rejected when its file cannot be had, and tried again then */
function library() {
  loading ??= new Promise((resolve, reject) => {
    const script = Object.assign(document.createElement('script'), { src: SOURCE });
    script.addEventListener('load', () => resolve(window.Chart));
    script.addEventListener('error', () => {
      loading = undefined;
      script.remove();
      reject(new Error('the charts cannot be loaded'));
    });
    document.head.append(script);
  });
  return loading;
}

/**
 * Draw a chart, and anew when the page's colours change.
 * @param {HTMLCanvasElement} canvas
 * @param {(colour: (name: string) => string) => object} configuration of Chart.js, by the colours of tokens.css
 * @param {AbortSignal} signal ends it
 * @returns {Promise<void>} rejected when the library cannot be had
 */
export async function drawChart(canvas, configuration, signal) {
  const Chart = await library();
  // One at a time, so that the page answers in between.
  await new Promise((resolve) => { setTimeout(resolve); });
  const watcher = new MutationObserver(redraw);
  const dark = matchMedia('(prefers-color-scheme: dark)');
  let chart;

  function redraw() {
    chart?.destroy();
    chart = undefined;
    if (signal.aborted || !canvas.isConnected) {
      watcher.disconnect();
      dark.removeEventListener('change', redraw);
      return;
    }
    const style = getComputedStyle(canvas);
    // Of a colour that depends on the scheme, the property itself has both.
    const colour = (name) => {
      canvas.style.color = `var(${name})`;
      return style.color;
    };
    const { defaults } = Chart;
    Object.assign(defaults, { color: colour('--quiet'), borderColor: colour('--line'), maintainAspectRatio: false, animation: false });
    defaults.font.family = style.fontFamily;
    chart = new Chart(canvas, configuration(colour));
  }

  redraw();
  if (!chart) return;
  dark.addEventListener('change', redraw);
  signal.addEventListener('abort', redraw);
  watcher.observe(document.documentElement, { attributeFilter: ['data-theme'] });
}
