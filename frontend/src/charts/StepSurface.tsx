/** Lies over charts with a step axis: pointer and arrow keys move the shared cursor, dragging zooms, Escape shows all steps. */

import { useComputed, useSignal } from "@preact/signals";
import { cursor, range } from "../state/store";
import type { Scale } from "./scale";
import { zoomBetween } from "./stepRange";

interface Props {
  label: string;
  /** Steps to pixels from the left edge of the surface. */
  scale: Scale | null;
  onHover?: (over: boolean) => void;
}

/** A shorter drag is a click. */
export const DRAG = 4;

export function StepSurface({ label, scale, onHover }: Props) {
  const drag = useSignal<{ from: number; to: number } | null>(null);
  const brush = useComputed(() => {
    if (!drag.value) return "display: none";
    const { from, to } = drag.value;
    return `left: ${Math.min(from, to)}px; width: ${Math.abs(to - from)}px`;
  });
  const place = (event: PointerEvent): number => {
    const [left, right] = scale?.range ?? [0, 0];
    const box = (event.currentTarget as HTMLElement).getBoundingClientRect();
    return Math.min(right, Math.max(left, event.clientX - box.left));
  };
  return (
    <div
      class="step-surface"
      role="application"
      // biome-ignore lint/a11y/noNoninteractiveTabindex: arrow keys move the cursor here
      tabIndex={0}
      aria-label={`${label}. Arrow keys move the cursor, Escape shows all steps.`}
      onPointerDown={(event) => {
        if (event.button !== 0) return;
        event.currentTarget.setPointerCapture(event.pointerId);
        drag.value = { from: place(event), to: place(event) };
      }}
      onPointerMove={(event) => {
        if (!scale) return;
        const at = place(event);
        onHover?.(true);
        cursor.value = within(scale, Math.floor(scale.invert(at)));
        if (drag.value) drag.value = { ...drag.value, to: at };
      }}
      onPointerUp={(event) => {
        const dragged = drag.value;
        const to = place(event); // the last move may not have been told
        drag.value = null;
        if (scale && dragged && Math.abs(to - dragged.from) > DRAG) zoomBetween(scale, dragged.from, to);
      }}
      onPointerCancel={() => {
        drag.value = null;
      }}
      onPointerLeave={() => onHover?.(false)}
      onDblClick={() => {
        range.value = null;
      }}
      onKeyDown={(event) => {
        if (event.ctrlKey || event.metaKey || event.altKey || !scale || !act(event, scale)) return;
        event.preventDefault();
        event.stopPropagation();
      }}
    >
      <i class="brush" style={brush} />
    </div>
  );
}

function within(scale: Scale, step: number): number {
  return Math.min(scale.domain[1], Math.max(scale.domain[0], step));
}

function act({ key, shiftKey }: KeyboardEvent, scale: Scale): boolean {
  if (key === "Escape") {
    if (!range.value) return false;
    range.value = null;
    return true;
  }
  if (key !== "ArrowLeft" && key !== "ArrowRight") return false;
  const [low, high] = scale.domain;
  const stride = Math.max(1, Math.round((high - low) / 400)) * (shiftKey ? 10 : 1);
  cursor.value = within(scale, (cursor.value ?? low) + (key === "ArrowRight" ? stride : -stride));
  return true;
}
