/** Paints one panel of the layer page. */

import type { Distribution, LayerPanel } from "../api/types";
import { magnitudeScale, nonFiniteSteps, paintDistribution, paintZeros, usedBins } from "../charts/distribution";
import * as paint from "../charts/paint";
import { rampsOf } from "../charts/ramps";
import { formatLogTick, type Scale } from "../charts/scale";
import { type Axes, type JudgedSeries, paintJudged } from "../charts/series";
import { type Palette, palette } from "../lib/palette";
import { theme } from "../state/store";

/** Vertical places within a panel's canvas, in pixels. */
export const LAYOUT = {
  left: 46,
  right: 10,
  seriesTop: 24,
  seriesBottom: 156,
  title: 184,
  imageTop: 202,
  imageBottom: 330,
  zerosTop: 335,
  zerosBottom: 343,
  axis: 30,
  height: 373,
} as const;

export function paintPanel(
  context: paint.Context,
  width: number,
  x: Scale,
  axes: Axes | null,
  panel: LayerPanel & JudgedSeries,
  illFor: readonly [number, number] | null,
  ratio: number,
): void {
  const colours = palette(theme.value);
  const box = { left: LAYOUT.left, right: width - LAYOUT.right, top: LAYOUT.seriesTop, bottom: LAYOUT.seriesBottom };
  if (axes) {
    paintJudged(context, box, x, axes, panel, illFor, colours, ratio);
    if (panel.healthy) nameBand(context, box, axes.y, panel.healthy[0], colours);
  }
  if (panel.distribution) paintImage(context, box, x, panel.distribution, colours, ratio);
  else paint.drawStepAxis(context, box, x, colours);
}

/** The word "healthy" beneath the band, where there is room. */
function nameBand(context: paint.Context, box: paint.Box, y: Scale, low: number, colours: Palette): void {
  const at = y.at(low);
  if (at + 14 > box.bottom || at < box.top) return;
  context.font = "500 11px Roboto, sans-serif";
  context.fillStyle = colours.healthy;
  context.textAlign = "left";
  context.textBaseline = "top";
  context.fillText("healthy", box.left + (box.right - box.left) * 0.3, at + 4);
}

function paintImage(
  context: paint.Context,
  series: paint.Box,
  x: Scale,
  distribution: Distribution,
  colours: Palette,
  ratio: number,
): void {
  const { left, right } = series;
  const image = { left, right, top: LAYOUT.imageTop, bottom: LAYOUT.imageBottom };
  const zeros = { left, right, top: LAYOUT.zerosTop, bottom: LAYOUT.zerosBottom };
  const lut = rampsOf(theme.value).distribution;
  text(context, "Distribution of |x|, mean and p5, p95", 14, LAYOUT.title, colours.text, "500 12px Roboto, sans-serif");
  for (const box of [image, zeros]) {
    context.fillStyle = colours.distribution[0];
    context.fillRect(left, box.top, right - left, box.bottom - box.top);
  }
  paint.drawStepAxis(context, { ...zeros, bottom: zeros.bottom + 1 }, x, colours, false);
  paintZeros(context, zeros, x, distribution, lut, ratio);
  const bins = usedBins(distribution);
  if (bins) {
    const y = magnitudeScale(distribution, bins, image.top, image.bottom);
    paintDistribution(context, image, x, y, distribution, lut, ratio);
    labelMagnitudes(context, image, y, colours);
    paint.clipTo(context, image, () => drawLines(context, image, x, y, distribution, colours));
  }
  text(context, "= 0", left - 8, (zeros.top + zeros.bottom) / 2, colours.secondary, "11px Roboto, sans-serif", "right");
  const { all, some } = nonFiniteSteps(distribution);
  const fill = paint.hatch(context, paint.denseHatch(colours), ratio);
  for (const box of [image, zeros]) paint.drawSpans(context, box, x, all, fill);
  paint.drawSpans(context, { ...image, bottom: image.top + 6 }, x, some, fill);
  context.strokeStyle = colours.borderStrong;
  context.lineWidth = 1;
  for (const box of [image, zeros]) {
    context.strokeRect(left - 0.5, box.top - 0.5, right - left + 1, box.bottom - box.top + 1);
  }
}

function labelMagnitudes(context: paint.Context, box: paint.Box, y: Scale, colours: Palette): void {
  for (const tick of y.ticks(4)) {
    const at = y.at(tick);
    if (at < box.top + 4 || at > box.bottom - 4) continue;
    text(context, formatLogTick(tick), box.left - 8, at, colours.secondary, "11px Roboto, sans-serif", "right");
  }
}

/** Mean and percentiles: light with a dark edge (or the reverse), so that they show on every part of the ramp. */
function drawLines(
  context: paint.Context,
  box: paint.Box,
  x: Scale,
  y: Scale,
  distribution: Distribution,
  colours: Palette,
): void {
  const { steps, mean, p5, p95 } = distribution;
  const [light, dark] = [colours.distribution[0], colours.distribution[4]];
  for (const values of [p5, p95]) {
    paint.drawLine(context, x, y, steps, values, { colour: dark, width: 2.4 });
    paint.drawLine(context, x, y, steps, values, { colour: light, width: 1.2, dash: [4, 3] });
  }
  paint.drawLine(context, x, y, steps, mean, { colour: dark, width: 3.4 });
  paint.drawLine(context, x, y, steps, mean, { colour: light, width: 1.8 });
  const first = steps.findIndex((step, i) => x.at(step) >= box.left && Number.isFinite(p95[i]));
  if (first < 0) return;
  const place = (values: Float32Array, away: number): number =>
    Math.min(box.bottom - 8, Math.max(box.top + 8, y.at(values[first] as number) + away));
  outlined(context, "p95", box.left + 9, place(p95, -11), colours);
  outlined(context, "p5", box.left + 9, place(p5, 11), colours);
}

function outlined(context: paint.Context, words: string, x: number, y: number, colours: Palette): void {
  context.font = "500 11px Roboto, sans-serif";
  context.textAlign = "left";
  context.textBaseline = "middle";
  context.lineWidth = 3;
  context.lineJoin = "round";
  context.strokeStyle = colours.distribution[4];
  context.strokeText(words, x, y);
  context.fillStyle = colours.distribution[0];
  context.fillText(words, x, y);
}

function text(
  context: paint.Context,
  words: string,
  x: number,
  y: number,
  colour: string,
  font: string,
  align: CanvasTextAlign = "left",
): void {
  context.font = font;
  context.fillStyle = colour;
  context.textAlign = align;
  context.textBaseline = "middle";
  context.fillText(words, x, y);
}
