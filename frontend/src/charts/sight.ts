/** Which part of a tall heatmap is in sight: only its rows are drawn and named. */

import { signal } from "@preact/signals";
import type { RefObject } from "preact";
import { useLayoutEffect } from "preact/hooks";
import type { Row } from "./fold";

export type Stretch = readonly [top: number, bottom: number];

/** A heatmap no higher than this is drawn whole. */
export const WHOLE = 3000;
/** In pixels: what is in sight changes in steps of this, and reaches at least as far beyond the edges of the window. */
const STEP = 400;

/** From the top of the heatmap, in pixels. */
export const sight = signal<Stretch>([0, WHOLE]);

/** The stretch of `height` pixels that a window shows whose upper edge stands at `above` pixels of them. */
export function inSight(height: number, above: number, windowHeight: number): Stretch {
  if (height <= WHOLE) return [0, height];
  const top = Math.min(Math.max(0, Math.floor(above / STEP) - 1) * STEP, height - STEP);
  const bottom = Math.max(top + STEP, (Math.ceil((above + windowHeight) / STEP) + 1) * STEP);
  return [top, Math.min(height, bottom)];
}

export const meets = ({ y, height }: Pick<Row, "y" | "height">, [top, bottom]: Stretch): boolean =>
  y < bottom && y + height > top;

/** Follows what is in sight of an element that is `height` pixels high. */
export function useSight(element: RefObject<HTMLElement>, height: number): void {
  useLayoutEffect(() => {
    const measure = () => {
      const target = element.current;
      if (!target || window.innerHeight === 0) return; // hidden
      const next = inSight(height, height <= WHOLE ? 0 : -target.getBoundingClientRect().top, window.innerHeight);
      if (next[0] !== sight.value[0] || next[1] !== sight.value[1]) sight.value = next;
    };
    measure();
    if (height <= WHOLE) return undefined;
    document.addEventListener("scroll", measure, { capture: true, passive: true });
    window.addEventListener("resize", measure);
    return () => {
      document.removeEventListener("scroll", measure, { capture: true });
      window.removeEventListener("resize", measure);
    };
  }, [height]);
}
