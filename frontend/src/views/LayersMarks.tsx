/** Where findings begin: badges above the heatmap, lines through every chart, an outline around the chosen one's cells. */

import { useComputed } from "@preact/signals";
import type { Row } from "../charts/fold";
import { spread } from "../charts/marks";
import { plotWidth, stepScale } from "../charts/stepRange";
import { selectFinding } from "../state/actions";
import { currentFinding, finding } from "../state/store";
import { Badge } from "./Icons";
import { chosenLayers, onsets, rows } from "./LayersModel";

const GAP = 18;

/** Marks whose step is on the axis, with the position of the step. */
const visibleOnsets = () => {
  const x = stepScale.value;
  if (!x) return [];
  return onsets.value
    .map((mark) => ({ mark, at: x.at(mark.step) }))
    .filter(({ at }) => at >= -0.5 && at <= plotWidth.value + 0.5);
};

export function LayersOnsets({ headings = true }: { headings?: boolean }) {
  const marks = visibleOnsets();
  const places = spread(
    marks.map(({ at }) => at),
    GAP,
    8,
    plotWidth.value - 8,
  );
  return (
    <div class="heatmap-top">
      <span class="heading">{headings && "Layer"}</span>
      <div class="onsets">
        {marks.map(({ mark }, i) => (
          <button
            key={mark.index}
            type="button"
            class="onset"
            style={{ left: places[i] }}
            title={mark.title}
            aria-label={`Choose finding ${mark.title}`}
            aria-pressed={mark.index === finding.value}
            onClick={() => selectFinding(mark.index)}
          >
            <Badge severity={mark.severity} number={mark.index + 1} size={16} />
          </button>
        ))}
      </div>
      <span class="heading">{headings && "Worst step"}</span>
    </div>
  );
}

/** Dashed lines at the onsets, as high as the element that holds them. */
export function OnsetLines() {
  return (
    <div class="onset-lines" aria-hidden="true">
      {visibleOnsets()
        // A line on the axis itself says nothing.
        .filter(({ at }) => at >= 1)
        .map(({ mark, at }) => (
          <i key={mark.index} class={mark.severity} style={{ left: at }} />
        ))}
    </div>
  );
}

/** Neighbouring rows that the chosen finding is about, as [top, bottom]. */
function outlined(all: readonly Row[], chosen: ReadonlySet<number>): [number, number][] {
  const spans: [number, number][] = [];
  for (const row of all) {
    if (!row.layers.some((layer) => chosen.has(layer))) continue;
    const last = spans[spans.length - 1];
    if (last && row.y - last[1] < 0.5) last[1] = row.y + row.height;
    else spans.push([row.y, row.y + row.height]);
  }
  return spans;
}

export function LayersOutline() {
  const places = useComputed(() => {
    const [x, chosen] = [stepScale.value, currentFinding.value];
    if (!x || !chosen) return [];
    const left = Math.max(0, x.at(chosen.first_step));
    const right = Math.min(plotWidth.value, Math.max(x.at(chosen.last_step + 1), left + 3));
    if (right <= left) return [];
    return outlined(rows.value, chosenLayers.value).map(([top, bottom]) => ({
      left: left - 2,
      width: right - left + 4,
      top: top - 2,
      height: bottom - top + 4,
    }));
  });
  return (
    <>
      {places.value.map((style) => (
        <i key={style.top} class="outline" style={style} />
      ))}
    </>
  );
}
