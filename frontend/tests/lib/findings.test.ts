import { expect, it } from "vitest";
import type { Finding, ReportResponse } from "../../src/api/types";
import { flatten, trees } from "../../src/lib/findings";
import fixture from "../fixtures/report-critical.json";

const { findings } = (fixture as unknown as ReportResponse).run;
const like = (rule: string, cause: string | null): Finding => ({
  ...(findings[0] as Finding),
  rule,
  subject: "",
  caused_by: cause === null ? null : { rule: cause, subject: "" },
});
const shape = (list: readonly Finding[]) => flatten(trees(list)).map((node) => [node.finding.rule, node.depth]);

it("folds symptoms beneath their cause, however deep", () => {
  expect(shape(findings)).toEqual([
    ["update-ratio-too-high", 0],
    ["exploding-activations", 1],
    ["non-finite", 2],
    ["dead-units", 0],
    ["initial-loss-off", 0],
  ]);
});

it("keeps each finding's index in the report", () => {
  const order = flatten(trees([like("cause", null), like("other", null), like("symptom", "cause")]));
  expect(order.map((node) => node.index)).toEqual([0, 2, 1]);
});

it("takes a finding whose cause is not reported for a root", () => {
  expect(shape([like("a", "gone")])).toEqual([["a", 0]]);
});

it("loses no finding to a circle of causes", () => {
  expect(
    shape([like("a", "b"), like("b", "a"), like("c", "c")])
      .map(([rule]) => rule)
      .sort(),
  ).toEqual(["a", "b", "c"]);
  expect(shape([like("a", "b"), like("b", "a"), like("d", "b")])).toHaveLength(3);
});
