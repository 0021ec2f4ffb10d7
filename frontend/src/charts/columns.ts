/** Columns of the heatmap: which steps each covers on the axis, and which of them a pixel stands for. */

import type { Scale } from "./scale";

export interface Columns {
  /** First step of each column. */
  readonly from: Float64Array;
  /** Where each column ends on the axis: at the next one, or where records evidently stop. */
  readonly to: Float64Array;
}

/** A gap this many times wider than those beside it is a hole in the records, not a slower cadence. */
const HOLE = 8;

export function makeColumns(steps: readonly (readonly [number, number])[]): Columns {
  const n = steps.length;
  const from = new Float64Array(n);
  const to = new Float64Array(n);
  const gap = (i: number): number => (steps[i + 1]?.[0] ?? Number.NaN) - (steps[i]?.[0] ?? Number.NaN);
  for (let i = 0; i < n; i++) {
    const [first, last] = steps[i] as readonly [number, number];
    const beside = Math.max(gap(i - 1) || 0, gap(i + 1) || 0, last - first + 1);
    const next = gap(i);
    from[i] = first;
    to[i] = Number.isNaN(next) || next > HOLE * beside ? first + beside : first + next;
  }
  return { from, to };
}

/** The column that covers a step, -1 where none does. */
export function columnAt(columns: Columns, step: number): number {
  const i = upperBound(columns.from, step) - 1;
  return i >= 0 && step < (columns.to[i] as number) ? i : -1;
}

/** The column that covers a step or, failing that, the nearest one; -1 where there are none. */
export function nearestColumn(columns: Columns, step: number): number {
  const n = columns.from.length;
  if (n === 0) return -1;
  const right = Math.min(upperBound(columns.from, step), n - 1);
  const left = Math.max(0, upperBound(columns.from, step) - 1);
  if (step < (columns.to[left] as number)) return left;
  return step - (columns.to[left] as number) < (columns.from[right] as number) - step ? left : right;
}

/** First and last column under each of `width` pixels, -1 where there is no record. */
export function pixelColumns(columns: Columns, x: Scale, width: number): { first: Int32Array; last: Int32Array } {
  const first = new Int32Array(width).fill(-1);
  const last = new Int32Array(width).fill(-1);
  for (let i = 0; i < columns.from.length; i++) {
    const begin = x.at(columns.from[i] as number);
    // The last columns of all round to the pixel beyond the edge, and must not be lost there.
    const left = begin < width ? Math.min(Math.round(begin), width - 1) : width;
    const right = Math.max(left + 1, Math.round(x.at(columns.to[i] as number)));
    for (let p = Math.max(0, left); p < Math.min(width, right); p++) {
      if (first[p] === -1) first[p] = i;
      last[p] = i;
    }
  }
  return { first, last };
}

/** Greatest distance from the band, in either direction; NaN only where there is no value at all. */
export function farther(a: number, b: number): number {
  if (Number.isNaN(a)) return b;
  return Math.abs(b) > Math.abs(a) ? b : a;
}

/** Distances of rows that each stand for the worst of some layers, (rows, columns), from those of all layers. */
export function rowDistances(
  layerDistances: Float32Array,
  columnCount: number,
  rows: readonly (readonly number[])[],
): Float32Array {
  const out = new Float32Array(rows.length * columnCount).fill(Number.NaN);
  rows.forEach((layers, row) => {
    for (const layer of layers) {
      for (let c = 0; c < columnCount; c++) {
        const place = row * columnCount + c;
        out[place] = farther(out[place] as number, layerDistances[layer * columnCount + c] as number);
      }
    }
  });
  return out;
}

/** How many steps a record stands for at the end of the axis. */
export function typicalStep({ from, to }: Columns): number {
  const last = from.length - 1;
  return last < 0 ? 1 : (to[last] as number) - (from[last] as number);
}

/** Index of the first entry greater than `value` in a sorted array. */
export function upperBound(sorted: ArrayLike<number>, value: number): number {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((sorted[middle] as number) <= value) low = middle + 1;
    else high = middle;
  }
  return low;
}
