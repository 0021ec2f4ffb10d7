/** The heatmap of one run relative to another's: each cell as the ratio of both worst values, judged in powers of two. */

import type { Band, HeatmapResponse, Scale } from "../api/types";
import { columnAt, makeColumns } from "./columns";
import { type Judge, twoSided } from "./ramp";

/** Ratios within it are taken for alike; at the ends of the arms the colours stay. */
const ALIKE: Band = [2 ** -0.5, 2 ** 0.5];
const END = 32;
/** Shares are compared as if this much more were in each, so that a trace of nothing is not infinitely much. */
const SHARE_FLOOR = 0.01;

export const ratioJudge: Judge = {
  ...twoSided("log", ALIKE, [1 / END, END], (v) => (v > 0 ? Math.log2(v) : Number.isNaN(v) ? Number.NaN : -1e3)),
  scale: "ratio",
};

/** How much larger `a` is than `b`; 1 where both are the same, zero included. NaN where either is missing. */
export function ratio(a: number, b: number, scale: Scale, healthy: Band | null): number {
  if (a === b) return 1;
  if (scale === "share") return (a + SHARE_FLOOR) / (b + SHARE_FLOOR);
  if (scale !== "symlog") return a / b;
  const unit = Math.max(...(healthy ?? [1]).map(Math.abs)) || 1;
  return (Math.abs(a) + unit) / (Math.abs(b) + unit);
}

/** `own` in relation to `other`: the layers of `own`, matched by name, and its columns, matched by their first step. */
export function relative(own: HeatmapResponse, other: HeatmapResponse, run: string, scale: Scale): HeatmapResponse {
  const count = own.steps.length;
  const theirs = makeColumns(other.steps);
  const rows = new Map(other.layers.map((name, row) => [name, row]));
  const at = own.steps.map(([first]) => columnAt(theirs, first));
  const band = own.healthy ?? null;
  const values = own.values.map((value, i) => {
    const row = rows.get(own.layers[Math.floor(i / count)] ?? "");
    const column = at[i % count] as number;
    if (row === undefined || column < 0) return Number.NaN;
    return ratio(value, other.values[row * other.steps.length + column] as number, scale, band);
  });
  const places = new Map(own.layers.map((name, row) => [name, row]));
  const elsewhere = other.non_finite.flatMap(([row, first, last]): [number, number, number][] => {
    const place = places.get(other.layers[row] ?? "");
    return place === undefined ? [] : [[place, first, last]];
  });
  return {
    ...own,
    values,
    healthy: ALIKE,
    neutral: [],
    non_finite: [...own.non_finite, ...elsewhere],
    worst: own.layers.map((_, row) => worstOf(values.subarray(row * count, (row + 1) * count), own.steps)),
    relativeTo: run,
  };
}

function worstOf(values: Float32Array, steps: HeatmapResponse["steps"]): { value: number; step: number } | null {
  let best = -1;
  const distance = (i: number) => Math.abs(ratioJudge.distance(values[i] as number));
  for (let i = 0; i < values.length; i++) {
    if (!Number.isNaN(values[i]) && (best < 0 || distance(i) > distance(best))) best = i;
  }
  return best < 0 ? null : { value: values[best] as number, step: steps[best]?.[0] ?? 0 };
}
