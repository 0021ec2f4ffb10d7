/** The labelled step axis beneath a shared plot, with the cursor's step in a pill where asked for. */

import { useComputed } from "@preact/signals";
import { cursor } from "../state/store";
import { formatStep, stepTicks } from "./paint";
import { cursorAt, stepScale } from "./stepRange";

export function StepAxis({ pill = false }: { pill?: boolean }) {
  const x = stepScale.value;
  const place = useComputed(() =>
    cursorAt.value === null ? "display: none" : `transform: translateX(${cursorAt.value}px) translateX(-50%)`,
  );
  const step = useComputed(() => (cursor.value === null ? "" : formatStep(cursor.value)));
  return (
    <div class={`step-axis ${pill ? "lined" : ""}`} aria-hidden="true">
      {x &&
        stepTicks(x).map((tick) => (
          <span key={tick} style={{ left: x.at(tick) }}>
            {formatStep(tick)}
          </span>
        ))}
      {pill && (
        <b class="step-pill" style={place}>
          {step}
        </b>
      )}
    </div>
  );
}
