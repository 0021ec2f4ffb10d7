import { describe, expect, it } from "vitest";
import { quantile, robustRange } from "../../src/charts/range";

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

it("interpolates quantiles", () => {
  expect(quantile([0, 10], 0.25)).toBe(2.5);
  expect(quantile([4], 0.9)).toBe(4);
});
