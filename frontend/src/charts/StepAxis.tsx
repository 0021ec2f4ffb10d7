/** The labelled step axis beneath a shared plot, with the cursor's step in a pill where asked for. */

import { useComputed } from "@preact/signals";
import { cursor } from "../state/store";
import { formatStep, stepTicks } from "./paint";
import { plotWidth, stepScale } from "./stepRange";

export function StepAxis({ pill = false }: { pill?: boolean }) {
  const x = stepScale.value;
  const place = useComputed(() => {
    const at = cursor.value === null ? undefined : stepScale.value?.at(cursor.value);
    const inside = at !== undefined && at >= 0 && at <= plotWidth.value;
    return inside ? `transform: translateX(${at}px) translateX(-50%)` : "display: none";
  });
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
