// What cannot wait for the page's modules, and is none.

// The colours that were chosen here, before anything is drawn: no other ones flash.
try {
  const chosen = localStorage.getItem('telelink.colours');
  if (chosen === 'light' || chosen === 'dark') document.documentElement.dataset.theme = chosen;
} catch {
  // Storage may be forbidden; then the system's colours are what there is.
}

// A module that does not arrive leaves nobody there to say so.
function sayThatItHasNotBegun() {
  if (!document.getElementById('views').hasChildNodes()) document.getElementById('not-begun').hidden = false;
}
for (const type of ['error', 'unhandledrejection']) {
  addEventListener(type, ({ target }) => {
    if (target !== window && target.type !== 'module') return;
    // It may be known before there is any place to say it.
    if (document.readyState === 'loading') document.addEventListener('DOMContentLoaded', sayThatItHasNotBegun);
    else sayThatItHasNotBegun();
  }, true);
}
