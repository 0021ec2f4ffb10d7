/** The limit of an evidence chart under the hand: dragged, or moved by arrow keys, it is tried on this run. */

import type { EvidenceResponse, Finding } from "../api/types";
import type { Scale } from "../charts/scale";
import { trial } from "../state/store";
import { rounded } from "../state/trial";

interface Props {
  data: EvidenceResponse;
  finding: Finding;
  y: Scale;
  left: number;
}

/** Pixels that an arrow key moves the limit by, alone and with Shift. */
const STRIDES = [3, 15] as const;

export function LimitHandle({ data, finding, y, left }: Props) {
  if (!data.trial) return null;
  const { option, value, scale } = data.trial;
  const { rule } = finding;
  const tried = trial.value?.rule === rule && trial.value.option === option ? trial.value.value : null;
  const [bottom, top] = y.range;
  const clamp = (at: number) => Math.min(bottom, Math.max(top, at));
  const at = clamp(y.at((tried ?? value) * scale));
  const set = (to: number | null) => {
    trial.value = to === null || to === value ? null : { rule, option, value: to };
  };
  const valueAt = (position: number) => rounded(y.invert(clamp(position)) / scale);
  const move = (by: number) => {
    const from = tried ?? value;
    let position = at;
    let next = from;
    while (next === from && position > top - 1 && position < bottom + 1) {
      position += by;
      next = valueAt(position);
    }
    set(next);
  };
  const key = (event: KeyboardEvent) => {
    const stride = STRIDES[event.shiftKey ? 1 : 0];
    if (event.key === "ArrowUp") move(-stride);
    else if (event.key === "ArrowDown") move(stride);
    else if (event.key === "Escape" && tried !== null) set(null);
    else return;
    event.preventDefault();
    event.stopPropagation();
  };
  const drag = (event: PointerEvent) => {
    const strip = event.currentTarget as HTMLElement;
    if (!strip.hasPointerCapture(event.pointerId)) return;
    const plot = strip.parentElement?.getBoundingClientRect();
    if (plot) set(valueAt(event.clientY - plot.top));
  };
  const words = Number((tried ?? value).toPrecision(3));
  return (
    <div
      class={`limit-handle${tried === null ? "" : " tried"}`}
      style={{ top: at, left }}
      role="slider"
      tabIndex={0}
      title="Drag to try another limit"
      aria-orientation="vertical"
      aria-label={`Limit to try: ${option} of ${rule}. Escape resets it.`}
      aria-valuemin={Math.min(...y.domain) / scale}
      aria-valuemax={Math.max(...y.domain) / scale}
      aria-valuenow={words}
      onPointerDown={(event) => {
        if (event.button === 0) event.currentTarget.setPointerCapture(event.pointerId);
      }}
      onPointerMove={drag}
      onDblClick={() => set(null)}
      onKeyDown={key}
    >
      <i />
      <span>{tried === null ? "" : `try ${words}`}</span>
    </div>
  );
}
