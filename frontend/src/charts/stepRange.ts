/** The step axis that heatmap and scalar charts share, and the data they show on it. */

import { computed, type ReadonlySignal, signal } from "@preact/signals";
import type { HeatmapResponse, RunSummary, ScalarChart, ScalarsResponse } from "../api/types";
import { fetchAhead, fetched, type Resource } from "../state/resources";
import { steady } from "../state/steady";
import {
  chosenStatistic,
  cursor,
  DEFAULT_STATISTIC,
  model,
  otherRun,
  others,
  range,
  ratioShown,
  run,
  runReport,
  type StepRange,
  statistic,
  tags,
} from "../state/store";
import { type Columns, makeColumns } from "./columns";
import { relative } from "./ratio";
import { makeScale, type Scale } from "./scale";

/** Room for names to the left of every plot and for values to its right. */
export const GUTTER = { left: 168, right: 146 } as const;

/** Width of the shared plots in pixels; 0 before the first layout. */
export const plotWidth = signal(0);

/** Asked for in hundreds, so that small changes of size are not new requests. */
const columnsWanted = computed(() => Math.min(1000, Math.max(100, Math.ceil(plotWidth.value / 100) * 100)));

const IDLE: Resource<never> = { status: "idle", data: null, error: null };

/** Keeps showing the last answer about the same run until the next has come. */
function held<T>(read: () => Resource<T>): ReadonlySignal<Resource<T>> {
  let last: { run: string | null; data: T } | null = null;
  return computed(() => {
    const resource = read();
    if (resource.data) last = { run: run.value, data: resource.data };
    else if (last?.run !== run.value) last = null;
    return { ...resource, data: last?.data ?? null };
  });
}

/** What the heatmap asks for, besides the run. */
export const heatmapParameters = () => {
  const [from, to] = range.value ?? [null, null];
  return { statistic: statistic.value, from, to, columns: columnsWanted.value };
};

const ownHeatmap: ReadonlySignal<Resource<HeatmapResponse>> = held(() => {
  if (run.value === null || !model.value.data || plotWidth.value === 0) return IDLE;
  return fetched("heatmap", { run: run.value, ...heatmapParameters() }, { lane: "heatmap" }).value;
});

const ownCells = computed(() => ownHeatmap.value.data);

const otherCells = computed<HeatmapResponse | null>(() =>
  !ratioShown.value || otherRun.value === null || !ownCells.value
    ? null
    : fetched("heatmap", { run: otherRun.value, ...heatmapParameters() }, { lane: "other heatmap" }).value.data,
);

/** The cells of the run in focus, or where two are compared relative to the other: the last ones while others are fetched. */
export const heatmap: ReadonlySignal<HeatmapResponse | null> = computed(() => {
  const [own, other, name] = [ownCells.value, otherCells.value, otherRun.value];
  if (!own || !other || name === null || own.statistic !== other.statistic) return own;
  const scale = model.value.data?.statistics.find(({ id }) => id === own.statistic)?.scale ?? "log";
  return relative(own, other, name, scale);
});
/** How the fetching of the heatmap of the run in focus stands. */
export const heatmapStatus = computed(() => ownHeatmap.value.status);
export const heatmapError = computed(() => ownHeatmap.value.error);

const SCALAR_POINTS = 500;
const scalarParameters = (picked: readonly string[]) => {
  const [from, to] = range.value ?? [null, null];
  return { run: run.value, tag: picked, from, to, points: SCALAR_POINTS };
};

/** The charts that every run has. */
export const standardScalars: ReadonlySignal<Resource<ScalarsResponse>> = held(() =>
  runReport.value === null ? IDLE : fetched("scalars", scalarParameters([]), { lane: "scalars" }).value,
);
/** The charts that the user added. */
export const pickedScalars: ReadonlySignal<Resource<ScalarsResponse>> = held(() =>
  runReport.value === null || tags.value.length === 0
    ? IDLE
    : fetched("scalars", scalarParameters(tags.value), { lane: "picked" }).value,
);

/** More runs than this in one chart could not be told apart. */
export const COMPARED = 4;

/** The same charts of the other ticked runs. */
export const comparedScalars = computed<{ run: string; charts: ScalarChart[] }[]>(() =>
  others.value.slice(0, COMPARED).flatMap((name) => {
    const answers = (tags.value.length > 0 ? [[], tags.value] : [[]]).map(
      (picked) => fetched("scalars", { ...scalarParameters(picked), run: name }).value.data,
    );
    const charts = answers.flatMap((answer) => answer?.charts ?? []);
    return charts.length > 0 ? [{ run: name, charts }] : [];
  }),
);

/**
 * Asks at once for all that the page of another run begins with, as far as its row tells what that is: what waited for the report
 * would come a round trip and a rendering later. Resolve when each reply has come; none where all is known.
 */
export function fetchTogether(row: RunSummary): Promise<void>[] {
  const asked = [fetchAhead("report", { run: row.run })];
  asked.push(fetchAhead("scalars", { ...scalarParameters([]), from: null, to: null, run: row.run }));
  if (row.has_records) asked.push(fetchAhead("model", { run: row.run }));
  if (row.has_records && plotWidth.peek() > 0) {
    const first = chosenStatistic.peek() ?? row.statistic ?? DEFAULT_STATISTIC;
    const columns = columnsWanted.peek();
    asked.push(fetchAhead("heatmap", { run: row.run, statistic: first, from: null, to: null, columns }));
  }
  return asked.filter((reply) => reply !== null);
}

const NO_COLUMNS = makeColumns([]);
export const columns = computed<Columns>(() => (heatmap.value ? makeColumns(heatmap.value.steps) : NO_COLUMNS));

/** All steps of the run in focus, as far as is known; null before anything is. */
const extent = steady<StepRange | null>(() => {
  let [low, high] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
  const include = (first: number | undefined, last: number | undefined) => {
    low = Math.min(low, first ?? low);
    high = Math.max(high, last ?? high);
  };
  const known = model.value.data;
  if (known && known.layers.length > 0) include(known.first_step ?? undefined, known.last_step ?? undefined);
  for (const resource of [standardScalars.value, pickedScalars.value]) {
    for (const chart of resource.data?.charts ?? []) {
      for (const { steps } of chart.series) include(steps[0], steps[steps.length - 1]);
    }
  }
  const { from, to } = columns.value;
  include(from[0], to[to.length - 1]);
  return low <= high ? [low, high > low ? high : low + 1] : null;
});

/** The steps on the axis: what the user zoomed to, else all. */
export const shown = computed<StepRange | null>(() => range.value ?? extent.value);

/** Steps to pixels within the shared plots; null before there is anything to show. */
export const stepScale = computed<Scale | null>(() =>
  shown.value && plotWidth.value > 0 ? makeScale("linear", shown.value, [0, plotWidth.value]) : null,
);

/** Zooms to the steps between two positions, in either order; a stretch too narrow to hold two steps is ignored. */
export function zoomBetween(scale: Scale, a: number, b: number): void {
  const [low, high] = scale.domain;
  const from = Math.max(low, Math.round(scale.invert(Math.min(a, b))));
  const to = Math.min(high, Math.round(scale.invert(Math.max(a, b))));
  if (to > from) range.value = [from, to];
}

/** The whole step under a position. */
export function stepAt(position: number): number | null {
  const scale = stepScale.value;
  if (!scale) return null;
  const [low, high] = scale.domain as StepRange;
  return Math.min(high, Math.max(low, Math.floor(scale.invert(position))));
}

/** Position of the cursor in the shared plots; null while there is none or it lies outside the steps on show. */
export const cursorAt = computed<number | null>(() => {
  const at = cursor.value === null ? undefined : stepScale.value?.at(cursor.value);
  return at !== undefined && at >= 0 && at <= plotWidth.value ? at : null;
});
