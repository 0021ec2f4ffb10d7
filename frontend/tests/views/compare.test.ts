import { expect, it } from "vitest";
import type { ReportResponse, RunReport } from "../../src/api/types";
import { compare } from "../../src/views/Compare";
import fixture from "../fixtures/report-critical.json";

const { run } = fixture as unknown as ReportResponse;
const having = (...rules: string[]): RunReport => ({
  ...run,
  findings: run.findings.filter(({ rule }) => rules.includes(rule)),
});

it("tells findings that are common, new here, and gone", () => {
  const rows = compare([having("dead-units", "non-finite"), having("dead-units", "initial-loss-off")]);
  expect(rows.map((row) => [row.finding.rule, row.kind])).toEqual([
    ["non-finite", "new"],
    ["dead-units", "common"],
    ["initial-loss-off", "gone"],
  ]);
});

it("says which of several runs have a finding", () => {
  const [row] = compare([having("dead-units"), having(), having("dead-units")]);
  expect(row?.kind).toBe("some");
  expect(row?.found.map((item) => item?.first_step ?? null)).toEqual([60, null, 60]);
});
