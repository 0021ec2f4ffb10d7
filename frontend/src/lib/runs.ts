/** Filtering, sorting and summing up runs. */

import type { RunSummary, Severity, Verdict } from "../api/types";

export type RunSort = "severity" | "name" | "recency";
export const RUN_SORTS: readonly RunSort[] = ["severity", "name", "recency"];

const RANK: Record<Verdict, number> = { critical: 0, warning: 1, healthy: 2, "no-data": 3, pending: 4 };
const collator = new Intl.Collator("en", { numeric: true });

export interface RunFilter {
  matches(run: string): boolean;
  /** Why the pattern is no regular expression, where it is none; it is then sought as plain text. */
  fault: string | null;
}

export function runFilter(pattern: string): RunFilter {
  if (!pattern) return { matches: () => true, fault: null };
  try {
    const expression = new RegExp(pattern, "i");
    return { matches: (run) => expression.test(run), fault: null };
  } catch {
    const plain = pattern.toLowerCase();
    return {
      matches: (run) => run.toLowerCase().includes(plain),
      fault: "not a regular expression; sought as plain text",
    };
  }
}

const byName = (a: RunSummary, b: RunSummary) => collator.compare(a.run, b.run);
const byRecency = (a: RunSummary, b: RunSummary) => (b.last_wall ?? 0) - (a.last_wall ?? 0) || byName(a, b);
const severities: readonly Severity[] = ["critical", "warning", "info"];

function bySeverity(a: RunSummary, b: RunSummary): number {
  const verdict = RANK[a.verdict] - RANK[b.verdict];
  if (verdict) return verdict;
  for (const severity of severities) {
    const more = b.counts[severity] - a.counts[severity];
    if (more) return more;
  }
  return byName(a, b);
}

const ORDERS = { severity: bySeverity, name: byName, recency: byRecency };

export function sortRuns(runs: readonly RunSummary[], sort: RunSort): RunSummary[] {
  return [...runs].sort(ORDERS[sort]);
}

/** The run to show first where nobody chose one: the worst that has records, else the worst. */
export function firstRun(runs: readonly RunSummary[]): RunSummary | null {
  const sorted = sortRuns(runs, "severity");
  return sorted.find((item) => item.verdict !== "pending" && item.has_records) ?? sorted[0] ?? null;
}

export function countVerdicts(runs: readonly RunSummary[]): Record<Verdict, number> {
  const counts: Record<Verdict, number> = { critical: 0, warning: 0, pending: 0, healthy: 0, "no-data": 0 };
  for (const item of runs) counts[item.verdict]++;
  return counts;
}

export interface Tally {
  name: string;
  severity: Severity;
  count: number;
}

/** How often each name occurs as the worst finding's rule or place, severest first, then most frequent. */
export function tally(runs: readonly RunSummary[], name: (worst: NonNullable<RunSummary["worst"]>) => string): Tally[] {
  const found = new Map<string, Tally>();
  for (const { worst } of runs) {
    if (!worst || worst.severity === "info") continue;
    const key = name(worst);
    const entry = found.get(key) ?? { name: key, severity: worst.severity, count: 0 };
    entry.count++;
    if (severities.indexOf(worst.severity) < severities.indexOf(entry.severity)) entry.severity = worst.severity;
    found.set(key, entry);
  }
  return [...found.values()].sort(
    (a, b) =>
      severities.indexOf(a.severity) - severities.indexOf(b.severity) ||
      b.count - a.count ||
      collator.compare(a.name, b.name),
  );
}

export interface Onsets {
  critical: number[];
  warning: number[];
  /** The last bin ends here. */
  last: number;
}

/** Runs by step of their first finding, in equal bins from step 0. */
export function onsets(runs: readonly RunSummary[], bins: number): Onsets {
  const ill = runs.filter((item) => item.worst && item.worst.severity !== "info");
  const last = Math.max(1, ...runs.map((item) => item.steps));
  const result: Onsets = { critical: new Array(bins).fill(0), warning: new Array(bins).fill(0), last };
  for (const { worst } of ill) {
    if (!worst || worst.severity === "info") continue;
    const bin = Math.min(bins - 1, Math.max(0, Math.floor((worst.first_step / last) * bins)));
    const row = result[worst.severity];
    row[bin] = (row[bin] ?? 0) + 1;
  }
  return result;
}
