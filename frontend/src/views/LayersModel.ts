/** What the heatmap shows, derived from the answer, the folds and the chosen finding. */

import { computed, type ReadonlySignal } from "@preact/signals";
import type { Finding, StatisticInfo } from "../api/types";
import { columnAt, rowDistances, typicalStep } from "../charts/columns";
import { type Block, layersUnder, layOut, makeTree, type Row } from "../charts/fold";
import { type Cells, spansByLayer } from "../charts/heatmap";
import type { Mark } from "../charts/marks";
import { type Judge, makeJudge } from "../charts/ramp";
import { ratioJudge } from "../charts/ratio";
import { meets, sight } from "../charts/sight";
import { columns, heatmap } from "../charts/stepRange";
import { steady } from "../state/steady";
import { currentFinding, findings, folds, model } from "../state/store";

/** Of a finding about layers in more groups than this, only the group that it names first is opened. */
const PLACES = 3;

/** Names of the layers. */
export const names: ReadonlySignal<readonly string[]> = steady(() => heatmap.value?.layers ?? []);
const tree = computed(() => makeTree(names.value));

/** The statistic of the cells on show, which while another is fetched is still the last one. */
export const shownStatistic = computed<StatisticInfo | null>(() => {
  const id = heatmap.value?.statistic;
  return model.value.data?.statistics.find((item) => item.id === id) ?? null;
});

const isRelative = computed(() => heatmap.value?.relativeTo !== undefined);
const band = steady(() => heatmap.value?.healthy ?? shownStatistic.value?.healthy ?? ([0, 0] as const));

export const judge = computed<Judge | null>(() => {
  const statistic = shownStatistic.value;
  if (!statistic) return null;
  if (isRelative.value) return ratioJudge;
  const scale = statistic.scale === "linear" ? "symlog" : statistic.scale;
  return makeJudge(scale, band.value);
});

const subjectsOf = (finding: Finding): string[] =>
  finding.layers.length > 0 ? finding.layers : finding.layer ? [finding.layer] : [];

/** Layers that the chosen finding is about. */
export const chosenLayers = computed(() =>
  layersUnder(names.value, currentFinding.value ? subjectsOf(currentFinding.value) : []),
);

const pointedAt = computed(() => {
  const marked = new Set<number>();
  for (const finding of findings.value) {
    const all = layersUnder(names.value, subjectsOf(finding));
    const places = tree.value.filter((node) => node.layers.some((layer) => all.has(layer))).length;
    const layers = places <= PLACES ? all : layersUnder(names.value, finding.layer ? [finding.layer] : []);
    if (layers.size < names.value.length) for (const layer of layers) marked.add(layer);
  }
  return marked;
});

export const blocks: ReadonlySignal<Block[]> = computed(() =>
  layOut(tree.value, names.value, { chosen: folds.value, marked: pointedAt.value }),
);
export const rows: ReadonlySignal<Row[]> = computed(() => blocks.value.flatMap((block) => block.rows));

/**
 * Distances from the band of the cells of some layers, shape (all layers, columns); 0 where the band does not apply. Those of other
 * layers are not there until they are asked for: of thousands few are in sight.
 */
const layerDistances = computed(() => {
  const [judging, data] = [judge.value, heatmap.value];
  if (!judging || !data) return null;
  const count = data.steps.length;
  const distances = new Float32Array(data.values.length);
  const known = new Uint8Array(data.layers.length);
  const neutral = spansByLayer(data.neutral ?? []);
  const make = (layer: number) => {
    const start = layer * count;
    for (let i = start; i < start + count; i++) distances[i] = judging.distance(data.values[i] as number);
    for (const [first, last] of neutral.get(layer) ?? []) {
      const [from, to] = [columnAt(columns.value, first), columnAt(columns.value, last)];
      if (from >= 0) distances.fill(0, start + from, start + Math.max(from, to) + 1);
    }
    known[layer] = 1;
  };
  return (layers: readonly number[]): Float32Array => {
    for (const layer of layers) if (!known[layer]) make(layer);
    return distances;
  };
});

/** Whether the band does not apply to a layer at some step of a column. */
export function isNeutral(layer: number, first: number, last: number): boolean {
  return heatmap.value?.neutral?.some(([at, from, to]) => at === layer && from <= last && to >= first) ?? false;
}

export const nonFinite = computed(() => spansByLayer(heatmap.value?.non_finite ?? []));

/** Cells drawn as a hatch. The share of non-finite values is itself a number that can be coloured. */
export const hatched = computed(() => (shownStatistic.value?.id === "non-finite" ? spansByLayer([]) : nonFinite.value));

/** Steps at which something in the layers of the chosen finding was not finite. */
export const chosenNonFinite = computed(() => {
  if (!currentFinding.value?.statistic_id) return [];
  const step = typicalStep(columns.value);
  return [...chosenLayers.value].flatMap((layer) =>
    (nonFinite.value.get(layer) ?? []).map(([first, last]): [number, number] => [first, last + step]),
  );
});

/** The rows in sight. */
export const rowsInSight = computed(() => rows.value.filter((row) => meets(row, sight.value)));

/** Cells of the rows in sight, whose `y` still counts from the top of the heatmap. */
export const cells = computed<Cells | null>(() => {
  if (!layerDistances.value) return null;
  const count = columns.value.from.length;
  const drawn = rowsInSight.value;
  const layersOfRows = drawn.map((row) => row.layers);
  const distances = rowDistances(layerDistances.value(layersOfRows.flat()), count, layersOfRows);
  return { rows: drawn, distances, columns: columns.value, nonFinite: hatched.value };
});

/** The layer of a row that is farthest from the band in a column, or by its worst value where no column is given. */
export function worstLayer(row: Row, column?: number): number {
  const count = columns.value.from.length;
  const worst = heatmap.value?.worst ?? [];
  const distance = (layer: number): number => {
    const value =
      column === undefined
        ? judge.value?.distance(worst[layer]?.value ?? Number.NaN)
        : layerDistances.value?.([layer])[layer * count + column];
    return Math.abs(value ?? Number.NaN);
  };
  let best = row.layers[0] as number;
  for (const layer of row.layers) {
    if (distance(layer) > distance(best) || (Number.isNaN(distance(best)) && !Number.isNaN(distance(layer))))
      best = layer;
  }
  return best;
}

/** Opens or closes a group by hand. */
export function toggle(block: Block, open = !block.open): void {
  if (block.foldable) folds.value = new Map(folds.value).set(block.node.key, open);
}

/** Marks beyond this many would be a fence. */
const MOST_MARKS = 24;

/** Onsets of the findings, in order of steps. */
export const onsets = computed<Mark[]>(() =>
  findings.value
    .slice(0, MOST_MARKS)
    .map((finding, index) => ({
      index,
      severity: finding.severity,
      step: finding.first_step,
      title: `${index + 1}: ${finding.rule}${finding.subject ? ` in ${finding.subject}` : ""}, from step ${finding.first_step}`,
    }))
    .sort((a, b) => a.step - b.step || a.index - b.index),
);
