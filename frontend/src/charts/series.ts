/** A judged series on canvas: healthy band, limit, the other layers, and the series itself, red beyond its limit. */

import type { Band, Direction, Scale as Kind } from "../api/types";
import type { Palette } from "../lib/palette";
import type { Overlay } from "./compared";
import * as paint from "./paint";
import { type Range, robustRange } from "./range";
import { formatTick, makeScale, type Scale, type ScaleKind } from "./scale";

export interface JudgedSeries {
  scale: Kind;
  steps: readonly number[];
  values: Float32Array;
  low: Float32Array | null;
  high: Float32Array | null;
  healthy: Band | null;
  limit: number | null;
  direction: Direction | null;
  /** Spans of steps known not to be finite where the series has no points at all. */
  nonFinite?: readonly (readonly [number, number])[];
  /** The same of other runs. */
  overlays?: readonly Overlay[];
  others?: { median: Float32Array; low: Float32Array; high: Float32Array } | null;
}

export interface Axes {
  y: Scale;
  range: Range;
}

/** The vertical axis over the steps on show; null where no value there is finite. */
export function judgedAxis(
  series: JudgedSeries,
  shown: readonly [number, number],
  top: number,
  bottom: number,
): Axes | null {
  const kind = axisKind(series);
  const inside = (_: number, i: number): boolean => {
    const step = series.steps[i] as number;
    return step >= shown[0] && step <= shown[1];
  };
  const values = series.values.filter(inside);
  if (!values.some(Number.isFinite)) return null;
  const context = series.others ? [...series.others.median.filter(inside)] : [];
  for (const { steps, values: more } of series.overlays ?? []) {
    more.forEach((value, i) => {
      if ((steps[i] as number) >= shown[0] && (steps[i] as number) <= shown[1]) context.push(value);
    });
  }
  const marks = [series.limit, ...(series.healthy ?? [])].filter((value) => value !== null);
  const range = robustRange(kind, [...values, ...context], { include: marks });
  if (!range) return null;
  const unit = Math.max(1e-30, ...(series.healthy ?? []).map(Math.abs), Math.abs(series.limit ?? 0));
  return { range, y: makeScale(kind, range.domain, [bottom, top], { linear: unit }) };
}

function axisKind(series: JudgedSeries): ScaleKind {
  const kind = series.scale === "relative" ? "log" : series.scale;
  // Zeros alone have no place on a logarithmic axis.
  return kind === "log" && !series.values.some((value) => value > 0) ? "linear" : kind;
}

/** `illFor`: the steps for which a finding holds; beyond the limit but outside them the rule did not apply. */
export function paintJudged(
  context: paint.Context,
  box: paint.Box,
  x: Scale,
  { y, range }: Axes,
  series: JudgedSeries,
  illFor: readonly [number, number] | null,
  colours: Palette,
  ratio: number,
): void {
  const { steps, values, low, high, healthy, limit, direction, others } = series;
  paint.drawGrid(context, box, y, y.ticks(Math.max(2, Math.round((box.bottom - box.top) / 34))), colours);
  if (healthy) paint.drawBand(context, box, y, healthy, colours);
  const spans = [...(series.nonFinite ?? []), ...paint.nonFiniteSpans(steps, values, x.domain[1])];
  paint.drawSpans(context, box, x, paint.mergeSpans(spans), paint.hatch(context, paint.openHatch(colours), ratio));
  const clip = { ...box, top: box.top - 1.5, bottom: box.bottom + 1.5 };
  const line = (area: paint.Box, style: paint.LineStyle): void =>
    paint.clipTo(context, area, () => paint.drawLine(context, x, y, steps, values, style));
  paint.clipTo(context, clip, () => {
    if (others) {
      paint.drawArea(context, x, y, steps, others.low, others.high, colours.noise);
      paint.drawLine(context, x, y, steps, others.median, { colour: colours.context, width: 1.2 });
    }
    if (low && high) paint.drawArea(context, x, y, steps, low, high, colours.noise);
  });
  paint.clipTo(context, clip, () => {
    for (const { colour, steps: at, values: more } of series.overlays ?? [])
      paint.drawLine(context, x, y, at, more, { colour: colour(colours), width: 1.4 });
  });
  line(clip, { colour: colours.strong, width: 1.6 });
  if (limit !== null) {
    const at = y.at(limit);
    const beyond = direction === "below" ? { ...clip, top: at } : { ...clip, bottom: at };
    // Half a step early, so that the stroke into the first step beyond the limit is red as well.
    if (illFor) Object.assign(beyond, { left: x.at(illFor[0] - 0.5) - 2, right: x.at(illFor[1]) + 2 });
    line(within(beyond, clip), { colour: colours.critical, width: 2.4 });
    drawLimit(context, box, at, limit, y.kind, colours);
  }
  const colour = limit === null ? colours.strong : colours.critical;
  paint.drawClippedArrows(context, box, x, y, steps, values, range, colour);
}

function within(inner: paint.Box, outer: paint.Box): paint.Box {
  const left = Math.max(inner.left, outer.left);
  const top = Math.max(inner.top, outer.top);
  return {
    left,
    top,
    right: Math.max(left, Math.min(inner.right, outer.right)),
    bottom: Math.max(top, Math.min(inner.bottom, outer.bottom)),
  };
}

function drawLimit(
  context: paint.Context,
  box: paint.Box,
  at: number,
  limit: number,
  kind: ScaleKind,
  colours: Palette,
): void {
  if (at < box.top - 0.5 || at > box.bottom + 0.5) return;
  context.save();
  context.strokeStyle = colours.critical;
  context.lineWidth = 1.4;
  context.setLineDash([6, 4]);
  context.beginPath();
  context.moveTo(box.left, at);
  context.lineTo(box.right, at);
  context.stroke();
  context.restore();
  context.fillStyle = colours.critical;
  context.font = "500 11px Roboto, sans-serif";
  context.textAlign = "left";
  const roomAbove = at - box.top > 16;
  context.textBaseline = roomAbove ? "bottom" : "top";
  context.fillText(`limit ${formatLimit(limit, kind)}`, box.left + 8, roomAbove ? at - 4 : at + 4);
}

export function formatLimit(limit: number, kind: ScaleKind | Kind): string {
  if (kind === "share") return `${Number((limit * 100).toPrecision(3))} %`;
  if (kind === "log" && limit < 1) return Number(limit.toPrecision(2)).toExponential().replace("e+", "e");
  return formatTick(Number(limit.toPrecision(3)));
}
