/** A small line without axes; steps whose value is not finite are hatched. */

import { finiteRuns } from "./paint";
import { climb, robustRange } from "./range";

interface Props {
  steps: readonly number[];
  values: readonly number[];
  width: number;
  height: number;
}

const PAD = 2;

export function Sparkline({ steps, values, width, height }: Props) {
  const range = robustRange("linear", values.slice(0, climb(values)));
  const first = steps[0] ?? 0;
  const span = (steps[steps.length - 1] ?? first) - first || 1;
  const x = (step: number): number => PAD + ((step - first) / span) * (width - 2 * PAD);
  const [low, high] = range?.domain ?? [0, 1];
  const y = (value: number): number => {
    const share = Math.min(1, Math.max(0, (value - low) / (high - low || 1)));
    return height - PAD - share * (height - 2 * PAD);
  };
  const path = finiteRuns(values)
    .map(([from, to]) => {
      const points = values
        .slice(from, to)
        .map((value, i) => `${x(steps[from + i] as number).toFixed(1)} ${y(value).toFixed(1)}`);
      // A lone point still shows: a line of no length with round ends.
      return `M${points.length === 1 ? [points[0], points[0]].join("L") : points.join("L")}`;
    })
    .join("");
  return (
    <svg class="sparkline" width={width} height={height} viewBox={`0 0 ${width} ${height}`} aria-hidden="true">
      {gaps(values).map(([from, to]) => {
        const left = x(steps[from] as number);
        const right = Math.max(to < values.length ? x(steps[to] as number) : width, left + 4);
        return <path key={from} class="hatched" d={diagonals(left, Math.min(right, width), height)} />;
      })}
      <path class="line" d={path} />
    </svg>
  );
}

/** Runs of values that are not finite, as [first, last + 1). */
function gaps(values: readonly number[]): [number, number][] {
  return finiteRuns(values, (value) => !Number.isFinite(value));
}

/** Diagonal lines that fill a rectangle, cut at its edges: a pattern would need an id of its own in each picture. */
function diagonals(left: number, right: number, height: number): string {
  const pitch = 4;
  const parts: string[] = [];
  for (let at = left + pitch / 2 - height; at < right; at += pitch) {
    const [x1, x2] = [Math.max(left, at), Math.min(right, at + height)];
    if (x2 > x1)
      parts.push(
        `M${x1.toFixed(1)} ${(height - (x1 - at)).toFixed(1)}L${x2.toFixed(1)} ${(height - (x2 - at)).toFixed(1)}`,
      );
  }
  return parts.join("");
}
