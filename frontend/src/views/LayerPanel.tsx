/** One of a layer's four panels: a series with its healthy band, and the distribution behind it. */

import { useComputed, useSignal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import type { LayerPanel as Panel } from "../api/types";
import { ChartMenu } from "../charts/ChartMenu";
import { useCanvas } from "../charts/canvas";
import { upperBound } from "../charts/columns";
import type { Overlay } from "../charts/compared";
import { nonFiniteSteps } from "../charts/distribution";
import { formatStep } from "../charts/paint";
import { StepSurface } from "../charts/StepSurface";
import { makeScale, type Scale } from "../charts/scale";
import { judgedAxis } from "../charts/series";
import { shown } from "../charts/stepRange";
import { useWidth } from "../charts/useWidth";
import { number } from "../lib/format";
import { cursor, findings } from "../state/store";
import { Badge } from "./Icons";
import { LayerColourBar, LayerReadout } from "./LayerDistribution";
import { LAYOUT, paintPanel } from "./LayerPaint";

export function LayerPanel({ panel, layer, overlays }: { panel: Panel; layer: string; overlays: readonly Overlay[] }) {
  const [plot, width] = useWidth<HTMLDivElement>();
  const hovered = useSignal(false);
  const first = panel.steps[0] ?? 0;
  const last = panel.steps[panel.steps.length - 1] ?? first;
  const steps = shown.value ?? [first, Math.max(first + 1, last)];
  const axes = judgedAxis({ ...panel, overlays }, steps, LAYOUT.seriesTop, LAYOUT.seriesBottom);
  const x = makeScale("linear", steps, [LAYOUT.left, Math.max(LAYOUT.left + 1, width.value - LAYOUT.right)]);
  const marks = findings.value
    .map((finding, index) => ({ finding, index }))
    .filter(({ finding }) => finding.statistic_id === panel.statistic && isAbout(finding, layer));
  // The panel's limit is the first finding's that has one; without a finding nothing beyond a limit is ill.
  const held = (marks.find(({ finding }) => finding.rule === panel.limits?.[0]?.rule) ?? marks[0])?.finding;
  const illFor: [number, number] = held ? [held.first_step, held.last_step] : [Number.POSITIVE_INFINITY, 0];
  const gaps = panel.distribution ? nonFiniteSteps(panel.distribution).all : [];
  const canvas = useCanvas((context, wide, _, ratio) => {
    const scale = makeScale("linear", steps, [LAYOUT.left, wide - LAYOUT.right]);
    paintPanel(context, wide, scale, axes, { ...panel, overlays, nonFinite: gaps }, illFor, ratio);
  });
  const height = panel.distribution ? LAYOUT.height : LAYOUT.seriesBottom + LAYOUT.axis;
  return (
    <figure class="layer-panel">
      <figcaption>
        <h2>{panel.title}</h2>
        <Value panel={panel} />
        <ChartMenu name={`${layer} ${panel.id}`} canvas={canvas} table={() => table(panel)} />
      </figcaption>
      <p class="panel-subtitle">
        <span>{panel.subtitle}</span>
        <Judgement panel={panel} />
      </p>
      <div class="panel-plot" ref={plot} style={{ height }}>
        <canvas ref={canvas} class="fill" role="img" aria-label={describe(panel)} />
        {!axes && <p class="evidence-none over">No finite value in these steps.</p>}
        {marks.map(({ finding, index }) => (
          <Onset key={index} x={x} step={finding.first_step} height={height - LAYOUT.axis}>
            <Badge severity={finding.severity} number={index + 1} size={16} />
          </Onset>
        ))}
        <Cursor x={x} height={height - LAYOUT.axis} />
        <StepSurface
          label={panel.title}
          scale={x}
          onHover={(over) => {
            hovered.value = over;
          }}
        />
        {panel.distribution && <LayerReadout distribution={panel.distribution} x={x} hovered={hovered} />}
      </div>
      {panel.distribution && <LayerColourBar />}
    </figure>
  );
}

function isAbout(finding: { layer: string | null; layers: string[] }, layer: string): boolean {
  const places = [...finding.layers, ...(finding.layer === null ? [] : [finding.layer])];
  return places.some((place) => place === layer || layer.startsWith(`${place}.`));
}

const pointAt = (panel: Panel): number =>
  cursor.value === null ? panel.steps.length - 1 : upperBound(panel.steps, cursor.value) - 1;

function Value({ panel }: { panel: Panel }) {
  const text = useComputed(() => number(panel.values[pointAt(panel)]));
  return <b class="panel-value">{text}</b>;
}

function Judgement({ panel }: { panel: Panel }) {
  const words = useComputed(() => {
    const value = panel.values[pointAt(panel)];
    if (!panel.healthy || value === undefined) return "";
    if (!Number.isFinite(value)) return "not finite";
    if (value > panel.healthy[1]) return "above the healthy band";
    return value < panel.healthy[0] ? "below the healthy band" : "healthy";
  });
  return <span>{words}</span>;
}

function Onset({ x, step, height, children }: { x: Scale; step: number; height: number; children: ComponentChildren }) {
  const at = x.at(step);
  if (at < x.range[0] - 1 || at > x.range[1] + 1) return null;
  return (
    <div class="panel-onset" style={{ left: at, height }}>
      {children}
    </div>
  );
}

/** The cursor begins a little above the series; layer.css says the same. */
const CURSOR_TOP = 20;

function Cursor({ x, height }: { x: Scale; height: number }) {
  const style = useComputed(() => {
    const at = cursor.value === null ? Number.NaN : x.at(cursor.value);
    return at >= x.range[0] && at <= x.range[1]
      ? `transform: translateX(${at}px); height: ${height - CURSOR_TOP}px`
      : "display: none";
  });
  const step = useComputed(() => (cursor.value === null ? "" : formatStep(cursor.value)));
  return (
    <div class="panel-cursor" style={style} aria-hidden="true">
      <b class="step-pill">{step}</b>
    </div>
  );
}

function describe(panel: Panel): string {
  const last = panel.steps.length - 1;
  if (last < 0) return `${panel.title}: no records`;
  const healthy = panel.healthy ? `; healthy from ${number(panel.healthy[0])} to ${number(panel.healthy[1])}` : "";
  return `${panel.title}, ${panel.subtitle}: ${number(panel.values[0])} at step ${panel.steps[0]}, ${number(panel.values[last])} at step ${panel.steps[last]}${healthy}`;
}

function table(panel: Panel): { header: string[]; rows: number[][] } {
  const { steps, values, low, high } = panel;
  const header = ["step", panel.statistic, ...(low && high ? ["minimum", "maximum"] : [])];
  const rows = steps.map((step, i) => [
    step,
    values[i] as number,
    ...(low && high ? [low[i] as number, high[i] as number] : []),
  ]);
  return { header, rows };
}
