/** Ranges that a single spike cannot flatten: percentiles, with what lies beyond them clipped and said. */

import { niceDomain, type ScaleKind } from "./scale";

export interface Range {
  domain: [number, number];
  /** Values lie beyond this end and are drawn clipped. */
  clippedLow: boolean;
  clippedHigh: boolean;
}

/** Share of the values that may be clipped at each end. */
const TAIL = 0.02;
/** What reaches no farther beyond the percentiles than this part of their span is shown in full. */
const TOLERANCE = 1.5;

/** Values among which some can be called typical. */
const FEWEST = 20;

export interface RangeOptions {
  /** Values the range must hold: limits, the ends of a band. */
  include?: readonly number[];
  ticks?: number;
}

/** The range for an axis; `null` where there is no finite (for "log": no positive) value to show. */
export function robustRange(
  kind: ScaleKind,
  values: ArrayLike<number> | Iterable<number>,
  options: RangeOptions = {},
): Range | null {
  if (kind === "share") return { domain: [0, 1], clippedLow: false, clippedHigh: false };
  const usable = (v: number): boolean => Number.isFinite(v) && (kind !== "log" || v > 0);
  const to = (v: number): number => (kind === "log" ? Math.log10(v) : v);
  const from = (v: number): number => (kind === "log" ? 10 ** v : v);
  const sorted = Float64Array.from(Array.from(values as ArrayLike<number>).filter(usable), to).sort();
  const include = (options.include ?? []).filter(usable).map(to);
  if (sorted.length === 0 && include.length === 0) return null;
  const ends = sorted.length > 0 ? sorted : Float64Array.from(include).sort();
  const [least, most] = [ends[0] as number, ends[ends.length - 1] as number];
  let [low, high] = [quantile(ends, TAIL), quantile(ends, 1 - TAIL)];
  const slack = (high - low) * TOLERANCE;
  // A signed logarithm already tames spikes, and so few values leave nothing to call typical.
  const clips = kind !== "symlog" && sorted.length >= FEWEST && high > low;
  const clippedLow = clips && least < low - slack;
  const clippedHigh = clips && most > high + slack;
  if (!clippedLow) low = least;
  if (!clippedHigh) high = most;
  low = Math.min(low, ...include);
  high = Math.max(high, ...include);
  const domain = niceDomain(kind, from(low), from(high), options.ticks);
  return {
    domain,
    clippedLow: clippedLow && from(least) < domain[0],
    clippedHigh: clippedHigh && from(most) > domain[1],
  };
}

/**
 * Index from which a curve stays above all it was before and ends far above it, as a loss that diverges; the curve's
 * length where it does not, or rises so for more than its last quarter: then that is the curve, and no end of one.
 */
export function climb(values: ArrayLike<number>): number {
  const finite = Array.from(values, (_, i) => i).filter((i) => Number.isFinite(values[i]));
  if (finite.length < FEWEST) return values.length;
  const curve = finite.map((i) => values[i] as number);
  const [half, most] = [curve.slice(0, curve.length / 2), curve.slice(0, curve.length * 0.75)];
  const ceiling = Math.max(...most);
  const first = curve.findLastIndex((value) => value <= ceiling) + 1;
  const leaves = farAbove(Math.max(...curve.slice(first)), most) && !farAbove(ceiling, half);
  return leaves ? (finite[first] as number) : values.length;
}

function farAbove(value: number, curve: readonly number[]): boolean {
  const [low, high] = [Math.min(...curve), Math.max(...curve)];
  return high > low && value > high + (high - low) * TOLERANCE;
}

/** The `q`-quantile of sorted values, interpolated. */
export function quantile(sorted: ArrayLike<number>, q: number): number {
  const place = (sorted.length - 1) * q;
  const left = Math.floor(place);
  const low = sorted[left] as number;
  const high = sorted[Math.min(left + 1, sorted.length - 1)] as number;
  return low + (high - low) * (place - left);
}
