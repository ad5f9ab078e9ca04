// Where the keyboard and a screen reader go on when what they stood on has gone.

/** To the heading of what an element holds now. @param {Element} element */
export function standOnHeading(element) {
  const heading = element.querySelector('h1');
  heading?.setAttribute('tabindex', '-1');
  heading?.focus({ preventScroll: true });
}
