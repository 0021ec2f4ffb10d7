/** Attention heads as a strip: a row for each head, a column for each reading. */

import type { AttentionHeads } from "../api/types";
import { farther, makeColumns } from "./columns";
import type { Cells } from "./heatmap";
import { type Band, type Judge, makeJudge } from "./ramp";

export type Strip = AttentionHeads["strips"][number];

/** Vertical places within a strip's canvas, in pixels. */
export const STRIP_TOP = 6;
const ROOM = 128;
const [THINNEST, THICKEST, APART] = [4, 16, 1];

/** Height of one head's row, the gap beneath it included. */
export function rowHeight(heads: number): number {
  return Math.max(THINNEST, Math.min(THICKEST, Math.floor(ROOM / Math.max(1, heads))));
}

/** One-sided: a small logit is no illness, nor is attention to all keys alike. */
export function judgeOf(strip: Strip): Judge {
  const judge = makeJudge(strip.scale as Judge["scale"], strip.healthy as Band);
  const ill = strip.statistic === "attention-entropy" ? -1 : 1;
  return { ...judge, distance: (value) => (judge.distance(value) * ill < 0 ? 0 : judge.distance(value)) };
}

/** Cells that the heatmap's painter takes. */
export function cellsOf(attention: AttentionHeads, strip: Strip): Cells {
  const height = rowHeight(attention.heads.length);
  const judge = judgeOf(strip);
  return {
    rows: attention.heads.map((head, i) => ({
      kind: "thin",
      layers: [i],
      label: `${head}`,
      y: STRIP_TOP + i * height,
      height: height - APART,
    })),
    distances: Float32Array.from(strip.values, (value) => judge.distance(value)),
    columns: makeColumns(attention.steps),
    nonFinite: new Map(),
  };
}

/** The value of a head at a column; NaN where there is none. */
export function valueAt(attention: AttentionHeads, strip: Strip, head: number, column: number): number {
  return strip.values[head * attention.steps.length + column] ?? Number.NaN;
}

/** Head and column of the value farthest from the band, of one column or of all; null without any value. */
export function worstHead(
  attention: AttentionHeads,
  strip: Strip,
  only: number | null = null,
): { head: number; column: number; value: number } | null {
  const judge = judgeOf(strip);
  let found: { head: number; column: number; value: number } | null = null;
  let worst = Number.NaN;
  const columns = only === null ? attention.steps.map((_, i) => i) : [only];
  for (let head = 0; head < attention.heads.length; head++) {
    for (const column of columns) {
      const value = valueAt(attention, strip, head, column);
      // Where all lie within the band, the one nearest to its ill end is told.
      const distance = judge.distance(value) || tieBreak(strip, value);
      if (Number.isNaN(distance)) continue;
      const next = farther(worst, distance);
      if (!found || next !== worst) found = { head, column, value };
      worst = next;
    }
  }
  return found;
}

/** A distance below any that is outside the band, greater the nearer a value lies to the end that is ill. */
function tieBreak(strip: Strip, value: number): number {
  const [low, high] = strip.healthy as Band;
  return 1e-3 * (strip.statistic === "attention-entropy" ? low / value : value / high);
}
