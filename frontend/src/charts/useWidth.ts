/** The width of an element, as a signal that follows its size. */

import { type Signal, useSignal } from "@preact/signals";
import type { RefObject } from "preact";
import { useLayoutEffect, useRef } from "preact/hooks";

/** `width` may be a signal that others read too; it keeps its last value while the element is hidden. */
export function useWidth<E extends HTMLElement>(shared?: Signal<number>): [RefObject<E>, Signal<number>] {
  const element = useRef<E>(null);
  const own = useSignal(0);
  const width = shared ?? own;
  useLayoutEffect(() => {
    const target = element.current;
    if (!target) return;
    const measure = () => {
      if (target.clientWidth > 0) width.value = target.clientWidth;
    };
    measure();
    const observer = new ResizeObserver(measure);
    observer.observe(target);
    return () => observer.disconnect();
  }, []);
  return [element, width];
}
