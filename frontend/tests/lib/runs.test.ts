import { describe, expect, it } from "vitest";
import type { RunSummary, RunsResponse } from "../../src/api/types";
import { countVerdicts, firstRun, onsets, runFilter, sortRuns, tally } from "../../src/lib/runs";
import fixture from "../fixtures/runs.json";

const runs = (fixture as unknown as RunsResponse).runs;
const names = (list: readonly RunSummary[]) => list.map((item) => item.run);
const like = (over: Partial<RunSummary>): RunSummary => ({ ...(runs[0] as RunSummary), ...over });

describe("the filter", () => {
  it("is a regular expression, whatever the case", () => {
    const { matches, fault } = runFilter("^GPT.*lr\\d");
    expect(fault).toBeNull();
    expect(names(runs.filter((item) => matches(item.run)))).toHaveLength(4);
  });

  it("falls back to plain text and says so", () => {
    const { matches, fault } = runFilter("lr(");
    expect(fault).toContain("plain text");
    expect(matches("a/LR(3)")).toBe(true);
    expect(matches("a/lr3")).toBe(false);
  });

  it("lets all through when empty", () => expect(runFilter("").matches("")).toBe(true));
});

describe("sorting", () => {
  it("puts the worst first and leaves the list alone", () => {
    const before = names(runs);
    expect(sortRuns(runs, "severity").map((item) => item.verdict)).toEqual([
      ...["critical", "critical", "critical"],
      ...["warning", "warning", "warning"],
      ...["healthy", "healthy", "no-data"],
    ]);
    expect(names(runs)).toEqual(before);
  });

  it("counts numbers in names", () => {
    const sorted = sortRuns([like({ run: "s10" }), like({ run: "s9" }), like({ run: "S1" })], "name");
    expect(names(sorted)).toEqual(["S1", "s9", "s10"]);
  });

  it("puts the newest first and the unread last", () => {
    const sorted = sortRuns(
      [like({ run: "a", last_wall: null }), like({ run: "b", last_wall: 1 }), like({ run: "c", last_wall: 2 })],
      "recency",
    );
    expect(names(sorted)).toEqual(["c", "b", "a"]);
  });

  it("breaks ties of verdict by the counts", () => {
    const few = like({ run: "a", counts: { critical: 1, warning: 9, info: 0 } });
    const many = like({ run: "b", counts: { critical: 2, warning: 0, info: 0 } });
    expect(names(sortRuns([few, many], "severity"))).toEqual(["b", "a"]);
  });
});

describe("the first run shown", () => {
  it("is the worst judged one with records", () => {
    const bare = like({ run: "bare", has_records: false });
    const pending = like({ run: "pending", verdict: "pending" });
    const healthy = like({ run: "healthy", verdict: "healthy" });
    expect(firstRun([bare, pending, healthy])?.run).toBe("healthy");
    expect(firstRun([pending])?.run).toBe("pending");
    expect(firstRun([])).toBeNull();
  });
});

it("counts verdicts", () => {
  expect(countVerdicts(runs)).toEqual({ critical: 3, warning: 3, healthy: 2, "no-data": 1, pending: 0 });
});

it("ranks root causes by severity, then by how many runs have them", () => {
  const tallies = tally(runs, (worst) => worst.rule);
  expect(tallies[0]).toEqual({ name: "update-ratio-too-high", severity: "critical", count: 2 });
  expect(tallies.map((item) => item.severity)).toEqual(["critical", "critical", "warning", "warning", "warning"]);
  expect(
    tally([like({ worst: { rule: "r", subject: "", severity: "info", first_step: 0 } })], (worst) => worst.rule),
  ).toEqual([]);
});

it("bins runs by the step of their first finding", () => {
  const at = (first_step: number, severity: "critical" | "warning") =>
    like({ steps: 100, worst: { rule: "r", subject: "", severity, first_step } });
  const found = onsets([at(0, "critical"), at(49, "warning"), at(100, "warning"), like({ steps: 80, worst: null })], 4);
  expect(found).toEqual({ critical: [1, 0, 0, 0], warning: [0, 1, 0, 1], last: 100 });
  expect(onsets([], 2)).toEqual({ critical: [0, 0], warning: [0, 0], last: 1 });
});
