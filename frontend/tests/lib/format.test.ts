import { describe, expect, it } from "vitest";
import { age, exponential, liveness, number, percent, plural, step, steps } from "../../src/lib/format";

describe("number", () => {
  it.each([
    [0, "0"],
    [0.1, "0.1"],
    [1.9, "1.9"],
    [14.72, "15"],
    [0.00423, "0.0042"],
    [0.0002, "2e-4"],
    [-0.0002, "-2e-4"],
    [1234.5, "1,235"],
    [99_999, "99,999"],
    [123_456, "1.2e5"],
    [612, "610"],
    [Number.NaN, "NaN"],
    [Number.POSITIVE_INFINITY, "inf"],
    [Number.NEGATIVE_INFINITY, "-inf"],
    [null, "–"],
    [undefined, "–"],
  ])("%s is %s", (value, text) => expect(number(value)).toBe(text));

  it("keeps as many digits as asked", () => expect(number(2.71849, 3)).toBe("2.72"));
});

it("writes powers of ten without superscripts or plus signs", () => {
  expect(exponential(1e-3)).toBe("1e-3");
  expect(exponential(25_000)).toBe("2.5e4");
  expect(exponential(9.99e-4, 1)).toBe("1e-3");
});

it("groups thousands of steps and spans them", () => {
  expect(step(5000)).toBe("5,000");
  expect(steps(398, 430)).toBe("398–430");
  expect(steps(1204, 1204)).toBe("1,204");
});

it("writes shares", () => {
  expect(percent(0.014)).toBe("1.4 %");
  expect(percent(0.46)).toBe("46 %");
  expect(percent(0)).toBe("0 %");
  expect(percent(0.0000012)).toBe("1e-4 %");
  expect(percent(null)).toBe("–");
});

it("counts things", () => {
  expect(plural(1, "run")).toBe("1 run");
  expect(plural(0, "run")).toBe("0 runs");
  expect(plural(2, "match", "matches")).toBe("2 matches");
});

describe("age", () => {
  it.each([
    [0, "now"],
    [29, "now"],
    [40, "1 min"],
    [360, "6 min"],
    [3 * 3600, "3 h"],
    [2 * 86_400, "2 d"],
    [-5, "now"],
  ])("%s seconds are %s", (seconds, text) => expect(age(1e9 - seconds, 1e9)).toBe(text));

  it("is missing where nothing was read", () => expect(age(null)).toBe("–"));

  it("says whether a run goes on", () => {
    expect(liveness(1e9, false, 1e9)).toBe("running");
    expect(liveness(1e9 - 360, false, 1e9)).toBe("stopped 6 min ago");
    expect(liveness(1e9 - 7200, true, 1e9)).toBe("finished 2 h ago");
    expect(liveness(1e9, true, 1e9)).toBe("finished just now");
    expect(liveness(null, true)).toBe("");
  });
});
