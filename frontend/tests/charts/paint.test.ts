import { describe, expect, it } from "vitest";
import { finiteRuns, nonFiniteSpans, stepTicks } from "../../src/charts/paint";
import { makeScale } from "../../src/charts/scale";

describe("gaps", () => {
  it("splits a line where values are not finite", () => {
    expect(finiteRuns([1, 2, Number.NaN, 3, Number.POSITIVE_INFINITY, 4])).toEqual([
      [0, 2],
      [3, 4],
      [5, 6],
    ]);
    expect(finiteRuns([])).toEqual([]);
  });

  it("spans steps until the next finite value, or to the end", () => {
    const bad = Number.NaN;
    expect(nonFiniteSpans([0, 10, 20, 30], [1, bad, 2, bad], 100)).toEqual([
      [10, 20],
      [30, 100],
    ]);
    expect(nonFiniteSpans([0, 10], [1, 2], 100)).toEqual([]);
  });
});

describe("stepTicks", () => {
  it("are whole steps with room for their labels", () => {
    expect(stepTicks(makeScale("linear", [0, 3], [0, 900])).every(Number.isInteger)).toBe(true);
    const ticks = stepTicks(makeScale("linear", [0, 100_000], [0, 400]));
    expect(ticks.length).toBeGreaterThan(1);
    expect(ticks.length).toBeLessThan(8);
  });
});
