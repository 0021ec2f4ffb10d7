/** A canvas that repaints itself, once a frame at most, when what its painter read has changed. */

import { effect } from "@preact/signals";
import type { RefObject } from "preact";
import { useLayoutEffect, useRef } from "preact/hooks";
import { fontsArrived, theme, visible } from "../state/store";

/** Paints in CSS pixels; `ratio` is how many device pixels one has. */
export type Painter = (context: CanvasRenderingContext2D, width: number, height: number, ratio: number) => void;

/**
 * Paints after every render of the component, on resizing, and when any signal read by `paint` changes.
 * While TensorBoard hides the tab nothing is painted.
 */
export function useCanvas(paint: Painter): RefObject<HTMLCanvasElement> {
  const canvas = useRef<HTMLCanvasElement>(null);
  const latest = useRef(paint);
  const request = useRef<() => void>(() => {});
  latest.current = paint;

  useLayoutEffect(() => {
    const element = canvas.current;
    if (!element) return;
    let frame = 0;
    let untrack = () => {};
    request.current = () => {
      frame ||= requestAnimationFrame(run);
    };
    const run = () => {
      frame = 0;
      untrack();
      let painted = false;
      // The first pass paints and so subscribes; a change runs it again, which asks for a frame and unsubscribes.
      untrack = effect(() => {
        if (painted) request.current();
        else paintOnto(element, latest.current);
        painted = true;
      });
    };
    const observer = new ResizeObserver(request.current);
    observer.observe(element);
    window.addEventListener("resize", request.current);
    return () => {
      observer.disconnect();
      window.removeEventListener("resize", request.current);
      cancelAnimationFrame(frame);
      untrack();
    };
  }, []);

  useLayoutEffect(() => request.current());
  return canvas;
}

function paintOnto(canvas: HTMLCanvasElement, paint: Painter): void {
  theme.value; // every painter depends on these, even one that paints nothing yet
  fontsArrived.value;
  const { clientWidth: width, clientHeight: height } = canvas;
  if (!visible.value || window.innerHeight === 0 || width === 0 || height === 0) return;
  const context = canvas.getContext("2d");
  if (!context) return;
  const ratio = window.devicePixelRatio || 1;
  const [wide, high] = [Math.round(width * ratio), Math.round(height * ratio)];
  if (canvas.width !== wide || canvas.height !== high) {
    canvas.width = wide;
    canvas.height = high;
  }
  context.setTransform(1, 0, 0, 1, 0, 0);
  context.clearRect(0, 0, wide, high);
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  paint(context, width, height, ratio);
}
