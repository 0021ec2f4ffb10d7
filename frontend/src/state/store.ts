/** Everything the tab remembers, in one place. Views read these signals and nothing keeps state beside them. */

import { computed, signal } from "@preact/signals";
import type { Finding, RunReport, RunSummary, Verdict } from "../api/types";
import { flatten, trees } from "../lib/findings";
import { type RunSort, runFilter, sortRuns } from "../lib/runs";
import { fetched, type Resource } from "./resources";

export type Theme = "light" | "dark";
export interface Trial {
  rule: string;
  option: string;
  value: number;
}
export type StepRange = readonly [from: number, to: number];

/** Run in focus; null shows the overview of all runs. */
export const run = signal<string | null>(null);
/** Runs ticked for comparison. */
export const ticked = signal<ReadonlySet<string>>(new Set());
/** Which finding is chosen, by rule and subject, so that new data do not move the choice. */
export const findingKey = signal<string | null>(null);
/** Statistic of the heatmap; null follows the chosen finding. */
export const chosenStatistic = signal<string | null>(null);
/** Steps shown by everything on the page; null is all of them. */
export const range = signal<StepRange | null>(null);
/** Step under the shared cursor. */
export const cursor = signal<number | null>(null);
/** Layer whose page is open. */
export const layer = signal<string | null>(null);
/** Pattern and order of the list of runs. */
export const filter = signal("");
export const sort = signal<RunSort>("severity");
/** Only runs of this verdict in the overview. */
export const segment = signal<Verdict | null>(null);
/** Row of the overview under the keyboard. */
export const row = signal(0);
/** Runs without health records are shown although the log has none with. */
export const scalarsAnyway = signal(false);
/** Whether the first run was chosen, by the address, a person or ourselves; until then nothing is a new page. */
export const settled = signal(false);
export const helpOpen = signal(false);
/** A limit tried: one option of one rule at another value. */
export const trial = signal<Trial | null>(null);
/** Whether the heatmap of two compared runs shows their ratio, or the one in focus alone. */
export const ratioShown = signal(true);
/** Tags of scalars the user picked, beside the standard charts. */
export const tags = signal<readonly string[]>([]);
/** How much the scalar charts are smoothed, 0 to 0.99. */
export const smoothing = signal(0);
/** Groups of layers opened (true) or closed (false) by hand, by module path. */
export const folds = signal<ReadonlyMap<string, boolean>>(new Map());
/** Whether this is a saved report, which has no server to ask. */
export const saved = signal(false);
export const theme = signal<Theme>("light");
/** False while TensorBoard hides the tab: nothing should be drawn then. */
export const visible = signal(true);
/** How often fonts have arrived; a canvas keeps the letters of what stood in for one. */
export const fontsArrived = signal(0);

export const keyOf = (finding: { rule: string; subject: string }): string => `${finding.rule}@${finding.subject}`;

export const runs = computed(() => fetched("runs").value);
const sorted = computed(() => sortRuns(runs.value.data?.runs ?? [], sort.value));
/** Runs that the filter lets through, sorted. */
export const listed = computed(() => {
  const { matches } = runFilter(filter.value);
  return sorted.value.filter((item) => matches(item.run));
});
/** The same, of the chosen verdict: the rows of the overview. */
export const overviewRows = computed(() =>
  segment.value === null ? listed.value : listed.value.filter((item) => item.verdict === segment.value),
);

/**
 * What the runs amount to. "empty": no run has health records or a preflight report, nothing wrong is seen in their scalars and nobody asked
 * for the rest, so there is but an invitation to show; "judging": that is not known yet.
 */
export const outlook = computed<"unknown" | "judging" | "empty" | "runs">(() => {
  const all = runs.value.data?.runs;
  if (!all) return "unknown";
  if (!all.length) return "empty";
  const tells = (item: RunSummary) =>
    item.has_records || item.preflight || (item.worst && item.worst.severity !== "info");
  if (scalarsAnyway.value || all.some(tells)) return "runs";
  return all.some((item) => item.verdict === "pending") ? "judging" : "empty";
});

const NONE: Resource<never> = { status: "idle", data: null, error: null };

/** Report of the run in focus. */
export const report = computed(() => (run.value === null ? NONE : fetched("report", { run: run.value }).value));
/** Whether the run in focus has records: TensorBoard's lists tell it before the report does. */
const recorded = computed(
  () =>
    report.value.data?.run.has_records ??
    runs.value.data?.runs.find((item) => item.run === run.value)?.has_records ??
    false,
);
/** Layers and statistics of the run in focus, where it has records. */
export const model = computed(() =>
  run.value !== null && recorded.value ? fetched("model", { run: run.value }).value : NONE,
);

export const runReport = computed<RunReport | null>(() => {
  const loaded = report.value.data?.run;
  return loaded && loaded.run === run.value ? loaded : null;
});
/** Ticked runs other than the one in focus. */
export const others = computed(() => [...ticked.value].filter((name) => name !== run.value));
export const comparing = computed(() => others.value.length > 0);
/** The other one of two runs compared. */
export const otherRun = computed(() => (others.value.length === 1 ? (others.value[0] ?? null) : null));
export const findings = computed<readonly Finding[]>(() => runReport.value?.findings ?? []);

/** Findings as trees, symptoms beneath their cause. */
export const findingTrees = computed(() => trees(findings.value));
/** The same in the order of the list. */
export const findingOrder = computed(() => flatten(findingTrees.value));

/** Index of the chosen finding in `findings`; -1 where there are none. */
export const finding = computed(() => {
  const chosen = findings.value.findIndex((item) => keyOf(item) === findingKey.value);
  return chosen >= 0 ? chosen : findings.value.length ? 0 : -1;
});
export const currentFinding = computed<Finding | null>(() => findings.value[finding.value] ?? null);

export const DEFAULT_STATISTIC = "update-ratio";

/** Id of the statistic that the heatmap shows: the user's choice, else the chosen finding's, else the first there is. */
export const statistic = computed(() => {
  const known = model.value.data?.statistics.map((item) => item.id);
  const wanted = [chosenStatistic.value, currentFinding.value?.statistic_id, DEFAULT_STATISTIC];
  return wanted.find((id) => id && (known?.includes(id) ?? true)) ?? known?.[0] ?? DEFAULT_STATISTIC;
});
