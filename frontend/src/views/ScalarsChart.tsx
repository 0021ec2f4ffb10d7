/** One scalar chart: name and legend to the left, curves on the shared axis, values at the cursor to the right. */

import { useComputed } from "@preact/signals";
import { useMemo } from "preact/hooks";
import type { ScalarChart, ScalarSeries } from "../api/types";
import { useCanvas } from "../charts/canvas";
import { upperBound } from "../charts/columns";
import { COMPARED_COLOURS } from "../charts/compared";
import * as paint from "../charts/paint";
import { climb, type Range, robustRange } from "../charts/range";
import { formatTick, makeScale, type Scale, type ScaleKind } from "../charts/scale";
import { comparedScalars, GUTTER, shown, stepScale } from "../charts/stepRange";
import { number } from "../lib/format";
import { type Palette, palette } from "../lib/palette";
import { smooth } from "../lib/smooth";
import { cursor, smoothing, theme } from "../state/store";

/** Half a label above and below the plot. */
const MARGIN = 7;
/** Up to so many points a line has a ring on each. */
const RINGS = 40;
/** What spans no more has a linear axis. */
const TWO_DECADES = 100;

type Span = readonly [number, number];
interface Props {
  chart: ScalarChart;
  stretches: readonly Span[];
  onRemove?: () => void;
}

const isRate = (chart: ScalarChart): boolean => chart.id.includes("learning");
const heightOf = (chart: ScalarChart): number => (chart.id === "loss" ? 104 : isRate(chart) ? 52 : 72);

/** The moving average, where there are points enough for one and the series is a noisy one; or what a person smooths. */
function meanOf(series: ScalarSeries): Float32Array | null {
  if (smoothing.value > 0) return series.role === "val" ? null : smooth(series.values, smoothing.value);
  return series.role === "train" && series.steps.length > RINGS ? series.mean : null;
}

/** A series of another run in the same chart: its first, which is the training one where there are two. */
interface Compared {
  run: string;
  series: ScalarSeries;
  colour: (colours: Palette) => string;
}

function comparedIn(chart: ScalarChart): Compared[] {
  return comparedScalars.value.flatMap(({ run, charts }, i) => {
    const series = charts.find((other) => other.id === chart.id)?.series[0];
    const colour = COMPARED_COLOURS[i];
    return series && colour ? [{ run, series, colour }] : [];
  });
}

interface Axis {
  kind: ScaleKind;
  range: Range;
}

/** The axis of what is on show. Where a loss diverges it is that of the time before: the rest is said to be off it. */
function axisOf(
  chart: ScalarChart,
  compared: readonly Compared[],
  steps: readonly [number, number] | null,
): Axis | null {
  const lines = [...chart.series, ...compared.map((other) => other.series)].map((series) => {
    const line = meanOf(series) ?? series.values;
    const points = series.steps.map((step, i) => [step, line[i] as number] as const);
    return steps ? points.filter(([step]) => step >= steps[0] && step <= steps[1]) : points;
  });
  const leaves =
    chart.id === "loss" ? lines.flatMap((points) => points[climb(points.map(([, v]) => v))]?.[0] ?? []) : [];
  const end = Math.min(Number.POSITIVE_INFINITY, ...leaves);
  const values = lines.flatMap((points) => points.filter(([step]) => step < end).map(([, value]) => value));
  const positive = values.filter((value) => value > 0);
  const wide = leaves.length === 0 || Math.max(...positive) > TWO_DECADES * Math.min(...positive);
  const kind = chart.scale === "log" && positive.length > 0 && wide ? "log" : "linear";
  const include = isRate(chart) && kind === "linear" ? [0] : chart.id === "accuracy" ? [0, 1] : [];
  const range = robustRange(kind, values, { include, ticks: isRate(chart) ? 3 : 4 });
  return range && { kind, range: { ...range, clippedHigh: range.clippedHigh || leaves.length > 0 } };
}

export function ScalarsChart({ chart, stretches, onRemove }: Props) {
  const height = heightOf(chart);
  const within = shown.value;
  const compared = comparedIn(chart);
  const axis = useMemo(
    () => axisOf(chart, compared, within),
    [chart, comparedScalars.value, smoothing.value, within?.[0], within?.[1]],
  );
  const range = axis?.range;
  const y = axis ? makeScale(axis.kind, axis.range.domain, [MARGIN + height, MARGIN]) : null;

  const canvas = useCanvas((context, width, _, ratio) => {
    const x = stepScale.value;
    if (!x || !y || !range) return;
    const colours = palette(theme.value);
    const box = { left: GUTTER.left, right: width - GUTTER.right, top: MARGIN, bottom: MARGIN + height };
    const at = makeScale("linear", x.domain, [box.left, box.right]);
    paint.drawGrid(context, box, y, ticksOf(chart, y), colours);
    const end = x.domain[1];
    const own = chart.series.flatMap((series) => paint.nonFiniteSpans(series.steps, series.values, end));
    paint.drawSpans(
      context,
      box,
      at,
      paint.mergeSpans([...stretches, ...own]),
      paint.hatch(context, paint.openHatch(colours), ratio),
    );
    // A line two pixels wide must not lose half of its width on the edge of the box.
    const clip = { ...box, top: box.top - 1, bottom: box.bottom + 1 };
    paint.clipTo(context, clip, () => {
      for (const { series, colour } of compared) {
        const line = meanOf(series) ?? series.values;
        paint.drawLine(context, at, y, series.steps, line, { colour: colour(colours), width: 1.3 });
      }
      for (const series of chart.series) drawSeries(context, at, y, series, colours);
    });
    for (const series of chart.series) {
      drawRings(context, at, y, series, colours);
      paint.drawClippedArrows(
        context,
        box,
        at,
        y,
        series.steps,
        meanOf(series) ?? series.values,
        range,
        lineOf(series, colours),
      );
    }
  });

  return (
    <div class="scalar" style={{ height: height + 16 }}>
      <canvas ref={canvas} class="fill" role="img" aria-label={describe(chart)} />
      <div class="scalar-name">
        <h3 title={chart.title}>{chart.title}</h3>
        <Legend chart={chart} compared={compared} kind={axis?.kind} />
        {onRemove && (
          <button type="button" class="scalar-remove" aria-label={`Remove ${chart.title}`} onClick={onRemove}>
            remove
          </button>
        )}
      </div>
      {range ? (
        <Values chart={chart} range={range} />
      ) : (
        <p class="scalar-empty">{chart.series.length ? "no finite values in these steps" : "nothing logged"}</p>
      )}
    </div>
  );
}

function ticksOf(chart: ScalarChart, y: Scale): number[] {
  return isRate(chart) && y.kind === "linear" ? [...y.domain] : y.ticks(4);
}

function lineOf(series: ScalarSeries, colours: Palette): string {
  return series.role === "val" ? colours.validation : meanOf(series) ? colours.train : colours.strong;
}

function drawSeries(context: paint.Context, x: Scale, y: Scale, series: ScalarSeries, colours: Palette): void {
  const { steps, values, low, high } = series;
  const mean = meanOf(series);
  const colour = lineOf(series, colours);
  if (mean && low && high && !smoothing.value) paint.drawArea(context, x, y, steps, low, high, colours.noise);
  if (series.min && series.max) paint.drawArea(context, x, y, steps, series.min, series.max, colours.context);
  if (mean) {
    paint.drawLine(context, x, y, steps, values, { colour: colours.context, width: 1 });
    paint.drawLine(context, x, y, steps, mean, { colour, width: 2 });
    return;
  }
  paint.drawLine(context, x, y, steps, values, { colour, width: 1.5 });
}

/** A ring on each point of a series that has few. */
function drawRings(context: paint.Context, x: Scale, y: Scale, series: ScalarSeries, colours: Palette): void {
  if (series.steps.length > RINGS) return;
  const inside = (v: number, [low, high]: readonly [number, number]): boolean => v >= low && v <= high;
  context.lineWidth = 1.5;
  context.strokeStyle = lineOf(series, colours);
  context.fillStyle = colours.surface;
  series.steps.forEach((step, i) => {
    const value = series.values[i] as number;
    if (!inside(step, x.domain) || !inside(value, y.domain)) return;
    context.beginPath();
    context.arc(x.at(step), y.at(value), 3, 0, 2 * Math.PI);
    context.fill();
    context.stroke();
  });
}

interface LegendProps {
  chart: ScalarChart;
  compared: readonly Compared[];
  kind: ScaleKind | undefined;
}

function Legend({ chart, compared, kind }: LegendProps) {
  const several = chart.series.length > 1 || chart.series.some(meanOf);
  if (!several) return kind === "log" ? <span class="scalar-note">log scale</span> : null;
  return (
    <ul class="scalar-legend">
      {chart.series.map((series) => (
        <li key={series.tag} title={series.tag}>
          <i class={`swatch ${series.role} ${meanOf(series) ? "mean" : ""}`} />
          {nameOf(series, chart)}
          {meanOf(series) ? (smoothing.value ? ", smoothed" : ", mean") : ""}
        </li>
      ))}
      {!smoothing.value && chart.series.some((series) => meanOf(series) && series.low && series.high) && (
        <li>
          <i class="swatch noise" />
          noise ±2σ
        </li>
      )}
      {compared.map(({ run, colour }) => (
        <li key={run} title={run}>
          <i class="swatch" style={{ borderColor: colour(palette(theme.value)) }} />
          <span>{run}</span>
        </li>
      ))}
    </ul>
  );
}

/** "train" and "val" where one series has the role, the tag where several do. */
function nameOf(series: ScalarSeries, chart: ScalarChart): string {
  const alone = chart.series.filter((other) => other.role === series.role).length === 1;
  return alone && series.role !== "value" ? series.role : series.tag;
}

/** Index of the last point at or before a step, of the last one with no step; -1 before the first. */
function pointAt(series: ScalarSeries, step: number | null): number {
  return step === null ? series.steps.length - 1 : upperBound(series.steps, step) - 1;
}

function Values({ chart, range }: { chart: ScalarChart; range: Range }) {
  const readings = useComputed(() =>
    chart.series.map((series) => {
      const i = pointAt(series, cursor.value);
      const step = series.steps[i];
      const spacing = (series.steps[i + 1] ?? step ?? 0) - (step ?? 0);
      const stale = step !== undefined && cursor.value !== null && cursor.value > step && series.role === "val";
      return {
        tag: series.tag,
        value: i < 0 ? "–" : number(series.values[i], 3),
        note: stale && spacing !== 1 ? `, at ${paint.formatStep(step)}` : "",
      };
    }),
  );
  const several = chart.series.length > 1 || chart.series[0]?.role !== "value";
  return (
    <div class="scalar-values">
      {readings.value.map(({ tag, value, note }, i) => (
        <div key={tag}>
          <b>{value}</b>
          {several && (
            <span title={tag}>
              {nameOf(chart.series[i] as ScalarSeries, chart)}
              {note}
            </span>
          )}
        </div>
      ))}
      {range.clippedHigh && <p>off scale above {formatTick(range.domain[1])}</p>}
      {range.clippedLow && <p>off scale below {formatTick(range.domain[0])}</p>}
    </div>
  );
}

function describe(chart: ScalarChart): string {
  const parts = chart.series.map((series) => {
    const last = series.steps.length - 1;
    return last < 0
      ? `${series.tag}: nothing logged`
      : `${series.tag}: from ${number(series.values[0], 3)} at step ${series.steps[0]} to ${number(series.values[last], 3)} at step ${series.steps[last]}`;
  });
  return `${chart.title}. ${parts.join("; ")}`;
}
