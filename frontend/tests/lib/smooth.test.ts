import { expect, it } from "vitest";
import { smooth } from "../../src/lib/smooth";

it("starts at the first value and then lags, as TensorBoard's does", () => {
  const smoothed = smooth(new Float32Array([1, 0, 0]), 0.5);
  expect(smoothed[0]).toBe(1);
  expect(smoothed[1]).toBeCloseTo(0.25 / 0.75, 6);
  expect(smoothed[2]).toBeCloseTo(0.125 / 0.875, 6);
});

it("leaves a constant, and all where nothing is smoothed, as it is", () => {
  expect([...smooth(new Float32Array([3, 3, 3]), 0.9)].map((value) => value.toFixed(5))).toEqual(
    Array(3).fill("3.00000"),
  );
  expect([...smooth(new Float32Array([1, 2, 3]), 0)]).toEqual([1, 2, 3]);
});

it("passes over what is not finite", () => {
  const smoothed = smooth(new Float32Array([1, Number.NaN, 1]), 0.6);
  expect(smoothed[1]).toBeNaN();
  expect(smoothed[2]).toBeCloseTo(1, 6);
});
