/** What pointer and keys do on the scalar charts: move the cursor, zoom, show all. */

import { useComputed, useSignal } from "@preact/signals";
import { stepAt, stepScale, zoomTo } from "../charts/stepRange";
import { cursor, range } from "../state/store";

const DRAG = 4;

export function ScalarsSurface() {
  const drag = useSignal<{ from: number; to: number } | null>(null);
  const brush = useComputed(() => {
    if (!drag.value) return "display: none";
    const { from, to } = drag.value;
    return `left: ${Math.min(from, to)}px; width: ${Math.abs(to - from)}px`;
  });
  const place = (event: PointerEvent): number => {
    const box = (event.currentTarget as HTMLElement).getBoundingClientRect();
    return Math.min(box.width, Math.max(0, event.clientX - box.left));
  };
  return (
    <div
      class="scalars-surface"
      role="application"
      // biome-ignore lint/a11y/noNoninteractiveTabindex: arrow keys move the cursor here
      tabIndex={0}
      aria-label="Scalar charts. Arrow keys move the cursor, Escape shows all steps. Values stand beside each chart."
      onPointerDown={(event) => {
        if (event.button !== 0) return;
        event.currentTarget.setPointerCapture(event.pointerId);
        drag.value = { from: place(event), to: place(event) };
      }}
      onPointerMove={(event) => {
        const x = place(event);
        cursor.value = stepAt(x);
        if (drag.value) drag.value = { ...drag.value, to: x };
      }}
      onPointerUp={() => {
        const dragged = drag.value;
        drag.value = null;
        if (dragged && Math.abs(dragged.to - dragged.from) > DRAG) zoomTo(dragged.from, dragged.to);
      }}
      onPointerCancel={() => {
        drag.value = null;
      }}
      onDblClick={() => {
        range.value = null;
      }}
      onKeyDown={(event) => {
        if (event.ctrlKey || event.metaKey || event.altKey || !act(event)) return;
        event.preventDefault();
        event.stopPropagation();
      }}
    >
      <i class="brush" style={brush} />
    </div>
  );
}

function act({ key, shiftKey }: KeyboardEvent): boolean {
  const domain = stepScale.value?.domain;
  if (!domain) return false;
  const [low, high] = domain;
  if (key === "Escape") {
    if (!range.value) return false;
    range.value = null;
    return true;
  }
  if (key !== "ArrowLeft" && key !== "ArrowRight") return false;
  const stride = Math.max(1, Math.round((high - low) / 400)) * (shiftKey ? 10 : 1);
  const next = (cursor.value ?? low) + (key === "ArrowRight" ? stride : -stride);
  cursor.value = Math.min(high, Math.max(low, next));
  return true;
}
