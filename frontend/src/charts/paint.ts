/** The strokes that every chart is made of: grid, lines with gaps, bands, hatches, step axes. */

import { step as wholeStep } from "../lib/format";
import type { Palette } from "../lib/palette";
import { formatTick, type Scale, tickLabels } from "./scale";

export type Context = CanvasRenderingContext2D;
export interface Box {
  left: number;
  right: number;
  top: number;
  bottom: number;
}
type Numbers = ArrayLike<number>;

export const AXIS_FONT = "11px Roboto, sans-serif";

/** Horizontal grid lines with their labels to the left. */
export function drawGrid(context: Context, box: Box, y: Scale, ticks: readonly number[], colours: Palette): void {
  const labels = tickLabels(y, ticks);
  context.font = AXIS_FONT;
  context.textAlign = "right";
  context.textBaseline = "middle";
  ticks.forEach((tick, i) => {
    const at = crisp(y.at(tick));
    context.fillStyle = colours.grid;
    context.fillRect(box.left, at, box.right - box.left, 1);
    context.fillStyle = colours.secondary;
    context.fillText(labels[i] ?? "", box.left - 8, at + 0.5);
  });
}

/** The axis line with ticks and the labels that fit beneath it; those within `avoid` pixels of a position are left out. */
export function drawStepAxis(context: Context, box: Box, x: Scale, colours: Palette, line = true): void {
  const ticks = stepTicks(x);
  context.fillStyle = colours.axis;
  if (line) context.fillRect(box.left, box.bottom, box.right - box.left, 1);
  context.font = AXIS_FONT;
  context.textAlign = "center";
  context.textBaseline = "top";
  for (const tick of ticks) {
    const at = x.at(tick);
    context.fillStyle = colours.axis;
    context.fillRect(crisp(at), box.bottom, 1, 5);
    context.fillStyle = colours.secondary;
    // A label at the end must not be cut by the edge of the canvas.
    const label = formatStep(tick);
    const half = context.measureText(label).width / 2;
    context.fillText(label, Math.min(at, context.canvas.clientWidth - half), box.bottom + 9);
  }
}

/** Whole steps, as many as have room for their labels. */
export function stepTicks(x: Scale): number[] {
  const width = Math.abs(x.range[1] - x.range[0]);
  const widest = formatStep(x.domain[1]).length * 7 + 34;
  const ticks = x.ticks(Math.max(1, Math.floor(width / widest)));
  return ticks.filter(Number.isInteger);
}

export function formatStep(step: number): string {
  return Math.abs(step) >= 1e7 ? formatTick(step) : wholeStep(step);
}

/** Runs of finite points, as [first, last + 1). `usable` says which values the axis can show. */
export function finiteRuns(values: Numbers, usable: (v: number) => boolean = Number.isFinite): [number, number][] {
  const runs: [number, number][] = [];
  let start = -1;
  for (let i = 0; i <= values.length; i++) {
    const good = i < values.length && usable(values[i] as number);
    if (good && start < 0) start = i;
    if (!good && start >= 0) {
      runs.push([start, i]);
      start = -1;
    }
  }
  return runs;
}

export interface LineStyle {
  colour: string;
  width: number;
  dash?: readonly number[];
}

/** A line through the values, with gaps where they are not finite; a lone point is a dot. */
export function drawLine(
  context: Context,
  x: Scale,
  y: Scale,
  steps: Numbers,
  values: Numbers,
  style: LineStyle,
): void {
  context.save();
  context.strokeStyle = style.colour;
  context.fillStyle = style.colour;
  context.lineWidth = style.width;
  context.lineJoin = "round";
  context.setLineDash([...(style.dash ?? [])]);
  context.beginPath();
  for (const [first, end] of finiteRuns(values)) {
    for (let i = first; i < end; i++) {
      const [px, py] = [x.at(steps[i] as number), bounded(y.at(values[i] as number), y)];
      if (i > first) context.lineTo(px, py);
      else context.moveTo(px, py);
    }
  }
  context.stroke();
  for (const [first, end] of finiteRuns(values)) {
    if (end - first > 1) continue;
    context.beginPath();
    context.arc(x.at(steps[first] as number), bounded(y.at(values[first] as number), y), style.width, 0, 2 * Math.PI);
    context.fill();
  }
  context.restore();
}

/** The area between two curves. */
export function drawArea(
  context: Context,
  x: Scale,
  y: Scale,
  steps: Numbers,
  low: Numbers,
  high: Numbers,
  colour: string,
): void {
  context.fillStyle = colour;
  // What a logarithmic axis cannot show is left out rather than drawn down to its foot.
  const shown = (v: number): boolean => Number.isFinite(v) && (y.kind !== "log" || v > 0);
  const both = Float64Array.from(low, (v, i) => (shown(v) && shown(high[i] as number) ? 1 : Number.NaN));
  for (const [first, end] of finiteRuns(both)) {
    context.beginPath();
    for (let i = first; i < end; i++) context.lineTo(x.at(steps[i] as number), bounded(y.at(high[i] as number), y));
    for (let i = end - 1; i >= first; i--) context.lineTo(x.at(steps[i] as number), bounded(y.at(low[i] as number), y));
    context.closePath();
    context.fill();
  }
}

/** A little beyond the axis is far enough: canvases draw huge coordinates (log of zero is one) badly. */
function bounded(position: number, y: Scale): number {
  const low = Math.min(...y.range) - 1000;
  const high = Math.max(...y.range) + 1000;
  return Math.min(high, Math.max(low, position));
}

/** The healthy band with its edges, as far as it lies within the box. */
export function drawBand(
  context: Context,
  box: Box,
  y: Scale,
  band: readonly [number, number],
  colours: Palette,
): void {
  const ends = band.map((value) => y.at(value));
  const inside = (at: number): boolean => at >= box.top && at <= box.bottom;
  const clamp = (at: number): number => Math.min(box.bottom, Math.max(box.top, at));
  const [bottom, top] = [clamp(ends[0] as number), clamp(ends[1] as number)];
  context.fillStyle = colours.band;
  context.fillRect(box.left, top, box.right - box.left, bottom - top);
  context.fillStyle = colours.bandEdge;
  for (const end of ends) if (inside(end)) context.fillRect(box.left, crisp(end), box.right - box.left, 1);
}

export interface HatchStyle {
  ground: string | null;
  line: string;
  /** Pixels between lines, and their width. */
  pitch: number;
  width: number;
}

export const denseHatch = (colours: Palette): HatchStyle => ({
  ground: colours.hatchGround,
  line: colours.hatchLine,
  pitch: 4.2,
  width: 1.1,
});
export const openHatch = (colours: Palette): HatchStyle => ({
  ground: colours.hatchGround,
  line: colours.hatchLine,
  pitch: 6.2,
  width: 0.6,
});

const hatches = new Map<string, CanvasPattern>();

/** Diagonal lines, continuous across every rectangle filled with them; made once for each style. */
export function hatch(context: Context, style: HatchStyle, ratio: number): CanvasPattern | string {
  const key = JSON.stringify([style, ratio]);
  const known = hatches.get(key) ?? makeHatch(context, style, ratio);
  if (known) hatches.set(key, known);
  return known ?? style.line;
}

function makeHatch(context: Context, style: HatchStyle, ratio: number): CanvasPattern | null {
  // A tile of whole device pixels, so that it repeats without seams.
  const size = Math.max(3, Math.round(style.pitch * Math.SQRT2 * ratio));
  const tile = document.createElement("canvas");
  tile.width = tile.height = size;
  const brush = tile.getContext("2d");
  if (!brush) return null;
  if (style.ground) {
    brush.fillStyle = style.ground;
    brush.fillRect(0, 0, size, size);
  }
  brush.strokeStyle = style.line;
  brush.lineWidth = style.width * ratio;
  brush.beginPath();
  for (const shift of [-size, 0, size]) {
    brush.moveTo(shift - 1, size + 1);
    brush.lineTo(shift + size + 1, -1);
  }
  brush.stroke();
  const pattern = context.createPattern(tile, "repeat");
  pattern?.setTransform(new DOMMatrix().scale(1 / ratio));
  return pattern;
}

/** Spans of steps, clipped to the box, as hatched rectangles. */
export function drawSpans(
  context: Context,
  box: Box,
  x: Scale,
  spans: readonly (readonly [number, number])[],
  fill: CanvasPattern | string,
): void {
  context.fillStyle = fill;
  for (const [from, to] of spans) {
    const left = Math.max(box.left, x.at(from));
    const right = Math.min(box.right, x.at(to));
    if (right > left) context.fillRect(left, box.top, right - left, box.bottom - box.top);
  }
}

/** Where consecutive values are not finite: from the first such step to the next finite one, or to `end`. */
export function nonFiniteSpans(steps: Numbers, values: Numbers, end: number): [number, number][] {
  const spans: [number, number][] = [];
  for (let i = 0; i < values.length; i++) {
    if (Number.isFinite(values[i] as number)) continue;
    const from = steps[i] as number;
    while (i < values.length && !Number.isFinite(values[i] as number)) i++;
    spans.push([from, i < values.length ? (steps[i] as number) : Math.max(end, from + 1)]);
  }
  return spans;
}

/** Overlapping spans as one: a hatch over a hatch would be darker. */
export function mergeSpans(spans: readonly (readonly [number, number])[]): [number, number][] {
  const merged: [number, number][] = [];
  for (const [from, to] of [...spans].sort((a, b) => a[0] - b[0])) {
    const last = merged[merged.length - 1];
    if (last && from <= last[1]) last[1] = Math.max(last[1], to);
    else merged.push([from, to]);
  }
  return merged;
}

/** Small triangles where a line leaves the box, pointing out of it. */
export function drawClippedArrows(
  context: Context,
  box: Box,
  x: Scale,
  y: Scale,
  steps: Numbers,
  values: Numbers,
  clipped: { clippedLow: boolean; clippedHigh: boolean },
  colour: string,
): void {
  const outside = (v: number): number =>
    clipped.clippedHigh && v > y.domain[1] ? 1 : clipped.clippedLow && v < y.domain[0] ? -1 : 0;
  context.fillStyle = colour;
  let lastArrow = Number.NEGATIVE_INFINITY;
  for (let i = 0; i < values.length; i++) {
    const side = outside(values[i] as number);
    if (side === 0 || (i > 0 && outside(values[i - 1] as number) === side)) continue;
    const at = crossing(x, y, steps, values, i, side);
    if (at - lastArrow < 10 || at < box.left || at > box.right) continue;
    lastArrow = at;
    const edge = side > 0 ? box.top : box.bottom;
    context.beginPath();
    context.moveTo(at, edge - side * 1);
    context.lineTo(at - 4, edge + side * 7);
    context.lineTo(at + 4, edge + side * 7);
    context.closePath();
    context.fill();
  }
}

/** Position at which the line to point `i` crosses the edge of the axis. */
function crossing(x: Scale, y: Scale, steps: Numbers, values: Numbers, i: number, side: number): number {
  const to = x.at(steps[i] as number);
  const before = values[i - 1];
  if (i === 0 || before === undefined || !Number.isFinite(before)) return to;
  const from = x.at(steps[i - 1] as number);
  const edge = y.at(y.domain[side > 0 ? 1 : 0]);
  const [a, b] = [y.at(before), y.at(values[i] as number)];
  if (!Number.isFinite(b) || a === b) return to;
  return from + (to - from) * Math.min(1, Math.max(0, (edge - a) / (b - a)));
}

export function clipTo(context: Context, box: Box, draw: () => void): void {
  context.save();
  context.beginPath();
  context.rect(box.left, box.top, box.right - box.left, box.bottom - box.top);
  context.clip();
  draw();
  context.restore();
}

/** Centre of a device-independent pixel, so that one-pixel lines are not smeared over two. */
function crisp(position: number): number {
  return Math.round(position - 0.5);
}
