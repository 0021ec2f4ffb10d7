import { expect, it } from "vitest";
import type { HeatmapResponse } from "../../src/api/types";
import { describe as inWords } from "../../src/charts/ramp";
import { ratio, ratioJudge, relative } from "../../src/charts/ratio";

const answer = (layers: string[], steps: [number, number][], values: number[]): HeatmapResponse => ({
  statistic: "update-ratio",
  layers,
  steps,
  records: steps.length,
  values: Float32Array.from(values),
  worst: layers.map(() => null),
  neutral: [[0, 0, 9]],
  non_finite: [],
  healthy: [1e-4, 1e-2],
});

it("divides cells of the same layer and step, whatever the order and the cadence of the other run", () => {
  const own = answer(
    ["a", "b"],
    [
      [0, 1],
      [2, 3],
      [4, 5],
    ],
    [8, 8, 8, 1, 1, Number.NaN],
  );
  const other = answer(
    ["b", "c", "a"],
    [
      [0, 3],
      [4, 7],
    ],
    [2, 4, 9, 9, 2, 8],
  );
  const found = relative(own, other, "twin", "log");
  expect([...found.values]).toEqual([4, 4, 1, 0.5, 0.5, Number.NaN]);
  expect(found.relativeTo).toBe("twin");
  expect(found.neutral).toEqual([]);
  expect(found.worst).toEqual([
    { value: 4, step: 0 },
    { value: 0.5, step: 0 },
  ]);
});

it("has no cells for layers and steps that the other run lacks", () => {
  const own = answer(
    ["a", "b"],
    [
      [0, 0],
      [1, 1],
      [100, 100],
    ],
    [1, 1, 1, 1, 1, 1],
  );
  const found = relative(
    own,
    answer(
      ["a"],
      [
        [0, 0],
        [1, 1],
      ],
      [1, 2],
    ),
    "twin",
    "log",
  );
  expect([...found.values]).toEqual([1, 0.5, Number.NaN, Number.NaN, Number.NaN, Number.NaN]);
  expect(found.worst[1]).toBeNull();
});

it("hatches what was not finite in either run", () => {
  const own = { ...answer(["a"], [[0, 0]], [1]), non_finite: [[0, 0, 0]] as [number, number, number][] };
  const other = { ...answer(["z", "a"], [[0, 0]], [1, 1]), non_finite: [[1, 3, 4]] as [number, number, number][] };
  expect(relative(own, other, "twin", "log").non_finite).toEqual([
    [0, 0, 0],
    [0, 3, 4],
  ]);
});

it("judges ratios in powers of two, alike both ways", () => {
  expect(ratioJudge.distance(1)).toBe(0);
  expect(ratioJudge.distance(1.3)).toBe(0);
  expect(ratioJudge.distance(8)).toBeCloseTo(-ratioJudge.distance(1 / 8));
  expect(ratioJudge.distance(32)).toBeCloseTo(1);
  expect(ratioJudge.distance(0)).toBeLessThan(-1);
  expect(ratioJudge.distance(Number.NaN)).toBeNaN();
  expect([1, 4, 0.25].map((value) => inWords(ratioJudge, value))).toEqual([
    "about the same",
    "4\u00d7 as much",
    "1/4\u00d7 as much",
  ]);
});

it("takes nothing beside nothing for alike, and signs for sizes", () => {
  expect(ratio(0, 0, "log", null)).toBe(1);
  expect(ratio(0.31, 0, "share", null)).toBeCloseTo(32);
  expect(ratio(-3, 1, "symlog", [-1, 1])).toBe(2);
});
