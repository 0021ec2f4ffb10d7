/** Where a series crosses the limit of the finding that it is shown for, which may have set in before. */

import type { EvidenceResponse } from "../api/types";

type Judged = Pick<EvidenceResponse, "steps" | "values" | "limit" | "direction">;

/** The first step, from `onset` on, at which the series is beyond its limit; null where it never is. */
export function crossedAt({ steps, values, limit, direction }: Judged, onset: number): number | null {
  if (limit === null) return null;
  const beyond = (value: number): boolean => (direction === "below" ? value <= limit : value >= limit);
  // A column stands for several steps: the one that holds the onset may begin before it.
  const from = Math.max(0, steps.findIndex((step) => step >= onset) - 1);
  const at = steps.findIndex((_, i) => i >= from && beyond(values[i] as number));
  return at < 0 ? null : Math.max(onset, steps[at] as number);
}

/** "crosses the limit at step 60", or where it set in and where it crosses, if that is later by a point or more. */
export function crossingWords(series: Judged, onset: number, step: (value: number) => string): string {
  const { steps, direction } = series;
  const at = crossedAt(series, onset);
  if (at === null) return `from step ${step(onset)}`;
  if (onset <= (steps[0] as number) && at === onset) return `beyond the limit from step ${step(at)}`;
  const next = steps.find((one) => one > onset) ?? onset;
  const crosses = direction === "below" ? "falls below" : "crosses";
  return at > next
    ? `from step ${step(onset)}, ${crosses} the limit at ${step(at)}`
    : `${crosses} the limit at step ${step(onset)}`;
}
