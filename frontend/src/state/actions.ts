/** What a person can do that touches more than one piece of state. */

import { batch, effect } from "@preact/signals";
import { firstRun } from "../lib/runs";
import {
  chosenStatistic,
  cursor,
  finding,
  findingKey,
  findingOrder,
  findings,
  folds,
  keyOf,
  layer,
  model,
  outlook,
  overviewRows,
  range,
  row,
  run,
  runs,
  settled,
  ticked,
  trial,
} from "./store";
import { turnTo } from "./turn";

/** Puts a run in focus; null opens the overview. The statistic stays, so that runs can be flicked through. */
export function openRun(name: string | null): void {
  if (run.value === name && layer.value === null) return;
  turnTo(name, () =>
    batch(() => {
      run.value = name;
      layer.value = null;
      findingKey.value = null;
      range.value = null;
      cursor.value = null;
      folds.value = new Map();
      trial.value = null;
    }),
  );
}

export function toggleTick(name: string): void {
  const next = new Set(ticked.value);
  if (!next.delete(name)) next.add(name);
  ticked.value = next;
}

/** Ticks all of these runs, or none where all are. */
export function tickAll(names: readonly string[]): void {
  const all = names.every((name) => ticked.value.has(name));
  const next = new Set(ticked.value);
  for (const name of names) all ? next.delete(name) : next.add(name);
  ticked.value = next;
}

/** Chooses a finding by its index in the report; the heatmap follows with the finding's statistic. */
export function selectFinding(index: number): void {
  const chosen = findings.value[index];
  if (!chosen) return;
  batch(() => {
    findingKey.value = keyOf(chosen);
    if (trial.value?.rule !== chosen.rule) trial.value = null;
    if (chosen.statistic_id) chosenStatistic.value = null;
  });
}

/** Moves through the findings as they are listed, or through the rows of the overview. */
export function moveBy(by: number): void {
  if (run.value === null) {
    row.value = clamp(row.value + by, overviewRows.value.length);
    return;
  }
  const order = findingOrder.value;
  const at = order.findIndex((node) => node.index === finding.value);
  const next = order[clamp(at + by, order.length)];
  if (next) selectFinding(next.index);
}

const clamp = (value: number, length: number) => Math.max(0, Math.min(length - 1, value));

/** The layer whose page a finding opens, where it is about one. */
export function layerOf(index: number): string | null {
  const known = model.value.data?.layers.map((item) => item.name) ?? [];
  const chosen = findings.value[index];
  if (!chosen) return null;
  const wanted = [chosen.layer, ...chosen.layers];
  return wanted.find((name) => name !== null && known.includes(name)) ?? null;
}

/** Enter: a run from the overview, or the chosen finding's layer. */
export function open(): void {
  if (run.value === null) openRun(overviewRows.value[row.value]?.run ?? null);
  else if (layer.value === null) layer.value = layerOf(finding.value);
}

/** Esc: one step out. */
export function back(): void {
  if (layer.value !== null) layer.value = null;
  else if (range.value !== null) range.value = null;
  else if (run.value !== null) openRun(null);
}

/** The previous or next layer, in forward order. */
export function moveLayer(by: number): void {
  const layers = model.value.data?.layers ?? [];
  const at = layers.findIndex((item) => item.name === layer.value);
  const next = layers[clamp(at + by, layers.length)];
  if (next && at >= 0) layer.value = next.name;
}

/** So many runs are judged before a healthy one is shown first: an ill one may be among the next. */
const PATIENCE = 8;

/** Shows the worst run where neither the address nor a person chose one. */
export function chooseFirstRun(): () => void {
  return effect(() => {
    const { runs: all, pending } = runs.value.data ?? { runs: [], pending: 0 };
    const first = outlook.value === "runs" ? firstRun(all) : null;
    if (settled.value || !first) return;
    if (!first.worst && pending > 0 && all.length - pending < PATIENCE) return;
    batch(() => {
      run.value = first.run;
      settled.value = true;
    });
  });
}
