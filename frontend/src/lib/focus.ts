/** Keys reach the tab as soon as it is shown, without a click into it. */

/**
 * Takes the keyboard, unless a person is typing elsewhere or goes through the page by keys: what has the focus then shows it.
 * A page that does not have the keyboard itself, as in a notebook, is left alone.
 */
export function takeKeys(): void {
  try {
    const host = window.parent.document;
    if (window.parent === window || !host.hasFocus()) return;
    const holder = host.activeElement;
    if (holder && holder !== host.body && holder.matches(":focus-visible")) return;
    window.focus();
  } catch {
    // another origin: a notebook's proxy
  }
}
