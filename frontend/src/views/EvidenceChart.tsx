/** The series that made a finding, with its limit, its healthy band and the other layers. */

import { useComputed } from "@preact/signals";
import type { EvidenceResponse, Finding } from "../api/types";
import { ChartMenu } from "../charts/ChartMenu";
import { useCanvas } from "../charts/canvas";
import { upperBound } from "../charts/columns";
import * as paint from "../charts/paint";
import { StepSurface } from "../charts/StepSurface";
import { makeScale, type Scale } from "../charts/scale";
import { type Axes, formatLimit, judgedAxis, paintJudged } from "../charts/series";
import { shown } from "../charts/stepRange";
import { useWidth } from "../charts/useWidth";
import { crossedAt, crossingWords } from "../lib/crossing";
import { number } from "../lib/format";
import { palette } from "../lib/palette";
import { low } from "../lib/viewport";
import { fetchedEvidence } from "../state/resources";
import { cursor, findings, theme } from "../state/store";
import { Badge } from "./Icons";
import { chosenNonFinite } from "./LayersModel";
import { LimitHandle } from "./parts";

const TALL = 224;
const LOW = 132;
const LEFT = 46;
const MARGIN = 8;
const AXIS = 26;
/** Widths of the words about the onset, of the badge beside them, and of the limit's label; height of a line. */
const WORDS = 210;
const BADGE = 14;
const LABEL = 76;
const LINE = 16;

/** `finding` is its index in the report of `run`. */
export function EvidenceChart({ run, finding }: { run: string; finding: number }) {
  const { data, error } = fetchedEvidence(run, finding).value;
  const about = findings.value[finding];
  if (data && about && data.steps.length > 0) return <Chart data={data} finding={about} number={finding + 1} />;
  const empty = data ? "No record holds the series behind this finding." : error;
  return (
    <figure class="evidence" aria-busy={!data && !error}>
      <p class={empty ? "evidence-none" : "evidence-wait"}>{empty}</p>
    </figure>
  );
}

function Chart({ data, finding, number: badge }: { data: EvidenceResponse; finding: Finding; number: number }) {
  const [plot, width] = useWidth<HTMLDivElement>();
  const first = data.steps[0] as number;
  const last = data.steps[data.steps.length - 1] as number;
  const steps = shown.value ?? [first, Math.max(last, first + 1)];
  const high = low.value ? LOW : TALL;
  const bottom = MARGIN + high;
  const axes = judgedAxis(data, steps, MARGIN, bottom);
  const x = makeScale("linear", steps, [LEFT, Math.max(LEFT + 1, width.value - 1)]);
  const canvas = useCanvas((context, wide, _, ratio) => {
    const colours = palette(theme.value);
    const box = { left: LEFT, right: wide - 1, top: MARGIN, bottom };
    const scale = makeScale("linear", steps, [box.left, box.right]);
    if (axes)
      paintJudged(
        context,
        box,
        scale,
        axes,
        { ...data, nonFinite: chosenNonFinite.value },
        [finding.first_step, finding.last_step],
        colours,
        ratio,
      );
    paint.drawStepAxis(context, box, scale, colours);
  });

  return (
    <figure class="evidence">
      <figcaption>
        <span class="evidence-title">{data.title}</span>
        <span class="evidence-unit">
          {[data.unit === "1" ? "" : data.unit, axes ? scaleWords(axes.y) : ""].filter(Boolean).join(", ")}
        </span>
        <ChartMenu name={`${finding.rule} ${finding.subject}`} canvas={canvas} table={() => table(data)} />
      </figcaption>
      <div class="evidence-plot" ref={plot} style={{ height: bottom + AXIS }}>
        <canvas ref={canvas} class="fill" role="img" aria-label={describe(data, finding)} />
        {axes ? (
          <Readout x={x} data={data} height={high} />
        ) : (
          <p class="evidence-none over">No finite value in these steps.</p>
        )}
        {axes && <LimitHandle data={data} finding={finding} y={axes.y} left={LEFT} />}
        {axes && width.value > 0 && (
          <Onset x={x} axes={axes} data={data} finding={finding} badge={badge} height={high} />
        )}
      </div>
      <Legend data={data} axes={axes} />
    </figure>
  );
}

const scaleWords = (y: Scale): string =>
  y.kind === "log" ? "log scale" : y.kind === "symlog" ? "signed log scale" : "";

/** Mark, line and words where the series crosses its limit. */
function Onset({
  x,
  axes,
  data,
  finding,
  badge,
  height,
}: {
  x: Scale;
  axes: Axes;
  data: EvidenceResponse;
  finding: Finding;
  badge: number;
  height: number;
}) {
  const at = x.at(finding.first_step);
  const [left, right] = x.range;
  if (at < left - 1 || at > right + 1) return null;
  const { y } = axes;
  const limitAt = data.limit === null ? null : y.at(data.limit);
  const crossed = crossedAt(data, finding.first_step);
  const toLeft = at - left > WORDS || at - left > right - at;
  const room = (toLeft ? at - left : right - at) - BADGE;
  const needs = room < WORDS - BADGE ? 4 * LINE : 2 * LINE;
  const onLabel = toLeft && room < WORDS - BADGE + LABEL && limitAt !== null && limitAt - LINE < MARGIN + needs;
  const busy = onLabel || crowded(x, y, data, toLeft ? [at - WORDS, at] : [at, at + WORDS], MARGIN + needs);
  const top = busy ? MARGIN + height - 42 : MARGIN;
  const side = toLeft
    ? { right: `calc(100% - ${at - BADGE}px)`, maxWidth: room, textAlign: "right" }
    : { left: at + BADGE, maxWidth: room };
  return (
    <div class="evidence-onset">
      <i class={finding.severity} style={{ left: at, top: MARGIN, height }} />
      {crossed !== null && limitAt !== null && limitAt >= MARGIN && limitAt <= MARGIN + height && (
        <b class="ring" style={{ left: x.at(crossed), top: limitAt }} />
      )}
      <span class="evidence-badge" style={{ left: at, top: top + 1 }}>
        <Badge severity={finding.severity} number={badge} size={16} />
      </span>
      <p class="evidence-words" style={{ ...(busy ? { bottom: AXIS + 4 } : { top }), ...side }}>
        <strong class="evidence-crossing">{crossingWords(data, finding.first_step, paint.formatStep)}</strong>
        <span class="evidence-worst">{worst(data, finding)}</span>
      </p>
    </div>
  );
}

/** Whether curves run through the plot above `bottom` between two positions, where the words would stand. */
function crowded(x: Scale, y: Scale, data: EvidenceResponse, [from, to]: [number, number], bottom: number): boolean {
  return data.steps.some((step, i) => {
    const at = x.at(step);
    return at >= from && at <= to && y.at(data.values[i] as number) < bottom + 8;
  });
}

/** "1.9 at step 430, 19 times the limit": the value farthest beyond the limit. */
function worst(data: EvidenceResponse, finding: Finding): string {
  const sign = finding.evidence.direction === "below" ? -1 : 1;
  let best = -1;
  data.values.forEach((value, i) => {
    if (Number.isFinite(value) && (best < 0 || sign * value > sign * (data.values[best] as number))) best = i;
  });
  if (best < 0) return "";
  const value = data.values[best] as number;
  const text = `${number(value)} at step ${paint.formatStep(data.steps[best] as number)}`;
  if (data.limit === null || data.scale === "share") return text;
  const ratio = sign > 0 ? value / data.limit : data.limit / value;
  return Number.isFinite(ratio) && ratio >= 1.1 ? `${text}, ${timesWords(ratio, sign)}` : text;
}

function timesWords(ratio: number, sign: number): string {
  return sign > 0 ? `${number(ratio)} times the limit` : `${number(ratio)} times below the limit`;
}

function Legend({ data, axes }: { data: EvidenceResponse; axes: Axes | null }) {
  const { healthy, others } = data;
  const range = axes?.range;
  return (
    <p class="evidence-legend">
      {healthy && (
        <span class="healthy-word">
          <i class="swatch-band" />
          {healthyWords(healthy, data.scale)}
        </span>
      )}
      {others && (
        <span>
          <i class="swatch-others" />
          {others.title}, median and 5–95 %
        </span>
      )}
      {range?.clippedHigh && <span>off scale above {number(range.domain[1])}</span>}
      {range?.clippedLow && <span>off scale below {number(range.domain[0])}</span>}
    </p>
  );
}

export function healthyWords([low, high]: readonly [number, number], scale: EvidenceResponse["scale"]): string {
  const [from, to] = [formatLimit(low, scale), formatLimit(high, scale)];
  if (scale === "share") return high === 0 ? "healthy is none" : `healthy, up to ${to}`;
  return `healthy, ${from} to ${to}`;
}

/** The shared cursor with the value there. */
function Readout({ x, data, height }: { x: Scale; data: EvidenceResponse; height: number }) {
  const line = useComputed(() => {
    const at = cursor.value === null ? Number.NaN : x.at(cursor.value);
    return at >= x.range[0] && at <= x.range[1] ? `transform: translateX(${at}px)` : "display: none";
  });
  const side = useComputed(() => {
    const before = cursor.value !== null && x.at(cursor.value) < (x.range[0] + x.range[1]) / 2;
    return before ? "left: 5px" : "right: 5px";
  });
  const text = useComputed(() => {
    if (cursor.value === null) return "";
    const i = upperBound(data.steps, cursor.value) - 1;
    return i < 0 ? "" : `${number(data.values[i])} at ${paint.formatStep(data.steps[i] as number)}`;
  });
  return (
    <div class="evidence-cursor" style={{ top: MARGIN, height }}>
      <div class="evidence-line" style={line}>
        <span style={side}>{text}</span>
      </div>
      <StepSurface label={data.title} scale={x} />
    </div>
  );
}

function describe(data: EvidenceResponse, finding: Finding): string {
  const limit = data.limit === null ? "" : ` The limit is ${number(data.limit)}.`;
  return `${data.title} over steps ${data.steps[0]} to ${data.steps[data.steps.length - 1]}: ${crossingWords(data, finding.first_step, paint.formatStep)}, worst ${worst(data, finding)}.${limit}`;
}

function table(data: EvidenceResponse): { header: string[]; rows: number[][] } {
  const columns: [string, ArrayLike<number> | null | undefined][] = [
    ["step", data.steps],
    ["value", data.values],
    ["minimum", data.low],
    ["maximum", data.high],
    ["others_median", data.others?.median],
    ["others_p5", data.others?.low],
    ["others_p95", data.others?.high],
  ];
  const present = columns.filter((column): column is [string, ArrayLike<number>] => Boolean(column[1]));
  return {
    header: present.map(([name]) => name),
    rows: data.steps.map((_, i) => present.map(([, values]) => values[i] as number)),
  };
}
