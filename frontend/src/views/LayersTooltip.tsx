/** What the cell under the cursor says: layer, step, value and how far from healthy it is. */

import { type ReadonlySignal, useComputed } from "@preact/signals";
import { columnAt } from "../charts/columns";
import { displayName } from "../charts/fold";
import { isNonFinite } from "../charts/heatmap";
import { formatStep } from "../charts/paint";
import { colourOf, cssColour, describe } from "../charts/ramp";
import { rampsOf } from "../charts/ramps";
import { columns, heatmap, plotWidth } from "../charts/stepRange";
import { number, steps } from "../lib/format";
import { cursor, theme } from "../state/store";
import { hatched, isNeutral, judge, names, rows, worstLayer } from "./LayersModel";

/** Row under the cursor (-1 between rows) and position within the plot. */
export interface Hover {
  row: number;
  x: number;
  y: number;
}

interface Reading {
  name: string;
  when: string;
  /** Null for a hatched cell. */
  colour: string | null;
  value: string;
  words: string;
}

function reading(rowIndex: number): Reading | null {
  const [row, data, judging, step] = [rows.value[rowIndex], heatmap.value, judge.value, cursor.value];
  if (!row || !data || !judging || step === null) return null;
  const column = columnAt(columns.value, step);
  const [first, last] = data.steps[column] ?? [step, step];
  const nonFiniteHere = row.layers.filter((layer) => isNonFinite(hatched.value, [layer], first, last));
  const index = nonFiniteHere[0] ?? worstLayer(row, Math.max(0, column));
  const others = row.layers.length > 1 ? `, worst of ${row.layers.length}` : "";
  const base = {
    name: `${displayName(names.value[index] ?? "")}${others}`,
    when: first === last ? `step ${formatStep(first)}` : `worst of steps ${steps(first, last)}`,
  };
  if (nonFiniteHere.length > 0) return { ...base, colour: null, value: "non-finite", words: "NaN or infinite values" };
  const value = column < 0 ? Number.NaN : (data.values[index * data.steps.length + column] as number);
  const neutral = isNeutral(index, first, last);
  const distance = neutral && !Number.isNaN(value) ? 0 : judging.distance(value);
  if (Number.isNaN(distance)) return { ...base, colour: "transparent", value: "", words: "no record" };
  return {
    ...base,
    colour: cssColour(colourOf(rampsOf(theme.value), distance)),
    value: number(value),
    words: neutral ? "not judged here: frozen, or held down by the learning rate" : describe(judging, value),
  };
}

/** Room that the tooltip takes at most. */
const WIDE = 330;

export function LayersTooltip({ hover }: { hover: ReadonlySignal<Hover | null> }) {
  const shown = useComputed(() => (hover.value ? reading(hover.value.row) : null));
  const style = useComputed(() => {
    if (!hover.value) return "display: none";
    const { x, y } = hover.value;
    const left = x + WIDE > plotWidth.value + 130;
    return `transform: translate(${left ? x - 12 : x + 12}px, ${y + 18}px) translateX(${left ? "-100%" : "0"})`;
  });
  const content = shown.value;
  return (
    <div class="tooltip" style={style} role="status" aria-live="polite" hidden={!content}>
      {content && (
        <>
          <div class="tooltip-head">
            <code>{content.name}</code>
            <span>{content.when}</span>
          </div>
          <div class="tooltip-value">
            <i
              class={content.colour === null ? "hatched" : ""}
              style={content.colour ? { background: content.colour } : {}}
            />
            <b>{content.value}</b>
            <span>{content.words}</span>
          </div>
        </>
      )}
    </div>
  );
}
