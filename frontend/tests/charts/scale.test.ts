import { describe, expect, it } from "vitest";
import { formatLogTick, formatTick, makeScale, niceDomain, tickLabels } from "../../src/charts/scale";

describe("makeScale", () => {
  it("maps and inverts every kind", () => {
    for (const [kind, domain, value] of [
      ["linear", [-2, 10], 3],
      ["log", [1e-6, 10], 3e-4],
      ["symlog", [-1000, 1000], -42],
      ["share", [0, 1], 0.3],
    ] as const) {
      const scale = makeScale(kind, domain, [100, 0], { linear: 5 });
      expect(scale.at(domain[0])).toBeCloseTo(100);
      expect(scale.at(domain[1])).toBeCloseTo(0);
      expect(scale.invert(scale.at(value))).toBeCloseTo(value, 8);
    }
  });

  it("keeps NaN apart from zero on a logarithmic axis", () => {
    const scale = makeScale("log", [1, 100], [0, 10]);
    expect(scale.at(Number.NaN)).toBeNaN();
    expect(scale.at(0)).toBe(Number.NEGATIVE_INFINITY);
  });

  it("survives a domain without width", () => {
    expect(Number.isFinite(makeScale("linear", [3, 3], [0, 10]).at(3))).toBe(true);
  });
});

describe("ticks", () => {
  it("are round, within the domain and labelled alike", () => {
    const scale = makeScale("linear", [0.4, 2.6], [0, 1]);
    expect(scale.ticks(5)).toEqual([0.5, 1, 1.5, 2, 2.5]);
    expect(tickLabels(scale, scale.ticks(5))).toEqual(["0.5", "1.0", "1.5", "2.0", "2.5"]);
  });

  it("are powers of ten on a logarithmic axis, thinned from the top", () => {
    const scale = makeScale("log", [1e-6, 10], [0, 1]);
    expect(tickLabels(scale, scale.ticks(8))).toEqual(["1e-6", "1e-5", "1e-4", "1e-3", "1e-2", "1e-1", "1", "10"]);
    expect(makeScale("log", [1e-1, 1e5], [0, 1]).ticks(4)).toEqual([0.1, 10, 1000, 100000]);
  });

  it("fill a logarithmic axis shorter than a decade", () => {
    expect(makeScale("log", [2, 8], [0, 1]).ticks(4).length).toBeGreaterThan(1);
  });

  it("are symmetric on a signed logarithmic axis", () => {
    const ticks = makeScale("symlog", [-5000, 5000], [0, 1], { linear: 5 }).ticks(5);
    expect(ticks).toContain(0);
    expect(ticks.map((tick) => -tick || 0).reverse()).toEqual(ticks);
  });
});

describe("niceDomain", () => {
  it("ends at round values, and forgives the error of float32", () => {
    expect(niceDomain("linear", 0, Math.fround(3e-3), 3)).toEqual([0, 0.003]);
    expect(niceDomain("log", 2e-4, 0.5)).toEqual([1e-4, 1]);
    expect(niceDomain("linear", 5.8, 11.1)).toEqual([4, 12]);
  });

  it("gives a constant some room", () => {
    const [low, high] = niceDomain("linear", 7, 7);
    expect(low).toBeLessThan(7);
    expect(high).toBeGreaterThan(7);
    expect(niceDomain("log", 10, 10)).toEqual([10, 100]);
  });
});

it("writes numbers without superscripts, plus signs or false precision", () => {
  expect([0.003, 1e-5, 0, 12, 2000, 2.5e6].map((value) => formatTick(value))).toEqual([
    "3e-3",
    "1e-5",
    "0",
    "12",
    "2,000",
    "2.5e6",
  ]);
  expect([1, 10, 100, 0.1, 0.5].map(formatLogTick)).toEqual(["1", "10", "1e2", "1e-1", "0.5"]);
  expect(tickLabels(makeScale("share", [0, 1], [0, 1]), [0, 0.25, 1])).toEqual(["0 %", "25 %", "100 %"]);
});
