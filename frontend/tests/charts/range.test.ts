import { describe, expect, it } from "vitest";
import { climb, quantile, robustRange } from "../../src/charts/range";

const loss = Array.from({ length: 200 }, (_, i) => 6 + 5 * Math.exp(-i / 40));

describe("robustRange", () => {
  it("shows an ordinary curve in full", () => {
    expect(robustRange("linear", loss)).toEqual({ domain: [6, 12], clippedLow: false, clippedHigh: false });
  });

  it("is not flattened by a spike, and says that it clips", () => {
    const spiked = [...loss];
    spiked[3] = 1e6;
    const range = robustRange("linear", spiked);
    expect(range?.domain[1]).toBeLessThan(20);
    expect(range?.clippedHigh).toBe(true);
    expect(range?.clippedLow).toBe(false);
  });

  it("clips nothing where there are too few values to call any typical", () => {
    expect(robustRange("linear", [1, 1.1, 1.2, 900])?.clippedHigh).toBe(false);
  });

  it("ignores what is not finite, and on a log axis what is not positive", () => {
    const range = robustRange("log", [Number.NaN, 0, -3, 2e-4, 0.5, Number.POSITIVE_INFINITY]);
    expect(range?.domain).toEqual([1e-4, 1]);
  });

  it("holds limit and band", () => {
    expect(robustRange("log", [1e-3, 2e-3], { include: [0.1, 2e-4] })?.domain).toEqual([1e-4, 0.1]);
  });

  it("is null where nothing can be shown", () => {
    expect(robustRange("linear", [Number.NaN])).toBeNull();
    expect(robustRange("log", [0, -1])).toBeNull();
  });

  it("shows all of a share", () => {
    expect(robustRange("share", [0.2])?.domain).toEqual([0, 1]);
  });
});

describe("climb", () => {
  const diverging = [...loss, ...Array.from({ length: 12 }, (_, i) => 8 * 2 ** (i + 1))];

  it("begins where a loss leaves for good what it was", () => {
    expect(climb(diverging)).toBe(loss.length);
    expect(climb([...diverging, Number.NaN, Number.NaN])).toBe(loss.length);
  });

  it("is no spike, from which the loss returns", () => {
    const spiked = [...diverging, 6, 6];
    expect(climb(spiked)).toBe(spiked.length);
  });

  it("is no bend, nor what a curve does for more than its last quarter", () => {
    const bent = [...loss, ...Array.from({ length: 20 }, (_, i) => 11 + i / 4)];
    expect(climb(bent)).toBe(bent.length);
    const doubling = Array.from({ length: 100 }, (_, i) => 2 ** (i / 4));
    expect(climb(doubling)).toBe(doubling.length);
    expect(climb(loss)).toBe(loss.length);
  });

  it("is not told of few values, nor of none", () => {
    expect(climb([1, 2, 1e9])).toBe(3);
    expect(climb(new Array(50).fill(Number.NaN))).toBe(50);
  });
});

it("interpolates quantiles", () => {
  expect(quantile([0, 10], 0.25)).toBe(2.5);
  expect(quantile([4], 0.9)).toBe(4);
});
