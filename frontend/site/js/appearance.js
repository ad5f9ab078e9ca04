// Before anything is drawn: the colours that were chosen here, so that no other ones flash. Not a module: those wait.
try {
  const chosen = localStorage.getItem('telelink.colours');
  if (chosen === 'light' || chosen === 'dark') document.documentElement.dataset.theme = chosen;
} catch {
  // Storage may be forbidden; then the system's colours are what there is.
}
