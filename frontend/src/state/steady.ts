/** Derived values that stay the same object while they are equal, so that nothing made of them is made again. */

import { computed, type ReadonlySignal } from "@preact/signals";

/** As `computed`, but keeps its last value while the next one has the same items. */
export function steady<T extends ArrayLike<unknown> | null>(read: () => T): ReadonlySignal<T> {
  let last: T | undefined;
  return computed(() => {
    const next = read();
    if (last === undefined || !sameItems(next, last)) last = next;
    return last;
  });
}

function sameItems(a: ArrayLike<unknown> | null, b: ArrayLike<unknown> | null): boolean {
  if (!a || !b) return a === b;
  for (let i = 0; i < a.length; i++) if (!Object.is(a[i], b[i])) return false;
  return a.length === b.length;
}
