import { describe, expect, it } from "vitest";
import type { Distribution } from "../../src/api/types";
import { BINS, magnitudeScale, nonFiniteSteps, shareOnRamp, usedBins } from "../../src/charts/distribution";

function distribution(shares: (step: number, bin: number) => number, steps = [0, 10, 20]): Distribution {
  const column = () => new Float32Array(steps.length);
  return {
    steps,
    exponent_low: -40,
    shares: Float32Array.from({ length: steps.length * BINS }, (_, i) => shares(Math.floor(i / BINS), i % BINS)),
    zero: column(),
    non_finite: column(),
    mean: column(),
    p5: column(),
    p95: column(),
    max: column(),
  };
}

describe("usedBins", () => {
  it("leaves out bins that no step would show", () => {
    const image = distribution((_, bin) => (bin === 30 ? 0.9 : bin === 33 ? 0.1 : bin === 5 ? 1e-6 : 0));
    expect(usedBins(image)).toEqual([30, 33]);
  });

  it("is null for a tensor that is all zeros or all NaN", () => {
    expect(usedBins(distribution(() => 0))).toBeNull();
    expect(usedBins(distribution(() => Number.NaN))).toBeNull();
  });
});

it("puts a bin's magnitude where its exponent says", () => {
  const y = magnitudeScale(
    distribution(() => 0),
    [30, 39],
    0,
    110,
  );
  expect(y.at(2 ** -10)).toBeCloseTo(110);
  expect(y.at(2 ** 1)).toBeCloseTo(0);
});

it("colours by share of the fullest bin, a thousandth being nothing", () => {
  expect(shareOnRamp(0.5, 0.5)).toBe(1);
  expect(shareOnRamp(0.0005, 0.5)).toBeCloseTo(0);
  expect(shareOnRamp(0, 0.5)).toBe(0);
  expect(shareOnRamp(0.1, 0)).toBe(0);
});

it("tells steps without any finite value from those with some", () => {
  const image = distribution(() => 0.1);
  image.non_finite.set([0, 0.25, 1]);
  expect(nonFiniteSteps(image)).toEqual({ all: [[20, 30]], some: [[10, 20]] });
});
