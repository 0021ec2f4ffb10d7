import { describe, expect, it } from "vitest";
import {
  buildLut,
  colourOf,
  cssColour,
  EDGE,
  fromOklab,
  describe as inWords,
  makeJudge,
  parseHex,
  toOklab,
} from "../../src/charts/ramp";
import { palette } from "../../src/lib/palette";

describe("OKLab", () => {
  it("returns every stop of every ramp unchanged", () => {
    for (const theme of ["light", "dark"] as const) {
      const { tooSmall, tooLarge, distribution } = palette(theme);
      for (const stop of [...tooSmall, ...tooLarge, ...distribution]) {
        expect(fromOklab(toOklab(parseHex(stop)))).toEqual(parseHex(stop));
      }
    }
  });

  it("agrees with the published value for red", () => {
    const [lightness, a, b] = toOklab([255, 0, 0]);
    expect(lightness).toBeCloseTo(0.628, 3);
    expect(a).toBeCloseTo(0.2249, 3);
    expect(b).toBeCloseTo(0.1258, 3);
  });

  it("says which colour it could not read", () => {
    expect(() => parseHex("red")).toThrow(/"red"/);
  });
});

describe("buildLut", () => {
  const { tooLarge, tooSmall } = palette("light");
  const lut = buildLut(tooLarge);

  it("has its stops at their places", () => {
    expect(cssColour(lut[0] as number)).toBe("rgb(236, 238, 239)");
    expect(cssColour(lut[255] as number)).toBe("rgb(116, 26, 8)");
    expect(lut).toHaveLength(256);
  });

  it("darkens all the way", () => {
    const lightness = [...lut].map((c) => toOklab([c & 255, (c >> 8) & 255, (c >> 16) & 255])[0]);
    for (let i = 1; i < lightness.length; i++)
      expect(lightness[i]).toBeLessThanOrEqual((lightness[i - 1] as number) + 0.004);
  });

  it("gives the band the neutral of both arms", () => {
    const ramp = { small: buildLut(tooSmall), large: lut };
    expect(colourOf(ramp, 0)).toBe(ramp.small[0]);
    expect(colourOf(ramp, 0)).toBe(ramp.large[0]);
    expect(colourOf(ramp, 99)).toBe(ramp.large[255]);
    expect(colourOf(ramp, -99)).toBe(ramp.small[255]);
  });
});

describe("distance from the band", () => {
  const ratio = makeJudge("log", [2e-4, 5e-3]);

  it("is flat within, jumps at the edge and runs on linearly in log10", () => {
    expect(ratio.ends).toEqual([1e-6, 10]);
    expect(ratio.distance(1e-3)).toBe(0);
    expect(ratio.distance(5e-3)).toBe(0);
    expect(ratio.distance(5.0001e-3)).toBeCloseTo(EDGE, 3);
    expect(ratio.distance(1.999e-4)).toBeCloseTo(-EDGE, 3);
    expect(ratio.distance(10)).toBeCloseTo(1);
    expect(ratio.distance(1e-6)).toBeCloseTo(-1);
    const step = ratio.distance(0.5) - ratio.distance(0.05);
    expect(ratio.distance(5) - ratio.distance(0.5)).toBeCloseTo(step);
  });

  it("puts zero farther than any value, and NaN nowhere", () => {
    expect(ratio.distance(0)).toBeLessThan(ratio.distance(1e-38));
    expect(ratio.distance(Number.NaN)).toBeNaN();
    expect(ratio.distance(Number.POSITIVE_INFINITY)).toBe(Number.POSITIVE_INFINITY);
  });

  it("has one side for shares", () => {
    const dead = makeJudge("share", [0, 0.3]);
    expect(dead.distance(0)).toBe(0);
    expect(dead.distance(0.3)).toBe(0);
    expect(dead.distance(1)).toBeCloseTo(1);
    expect(dead.distance(0.65)).toBeCloseTo(EDGE + (1 - EDGE) / 2);
  });

  it("judges by decade where not even a small share is healthy", () => {
    const bad = makeJudge("share", [0, 0]);
    expect(bad.distance(0)).toBe(0);
    expect(bad.distance(1e-6)).toBeCloseTo(EDGE);
    expect(bad.distance(1e-3)).toBeCloseTo(EDGE + (1 - EDGE) / 2);
    expect(bad.distance(1)).toBeCloseTo(1);
  });

  it("knows the sign of a mean", () => {
    const mean = makeJudge("symlog", [-5, 5]);
    expect(mean.distance(-4)).toBe(0);
    expect(mean.distance(50)).toBeGreaterThan(EDGE);
    expect(mean.distance(-50)).toBeCloseTo(-mean.distance(50));
  });
});

it("says in words how far a value is from healthy", () => {
  const ratio = makeJudge("log", [2e-4, 5e-3]);
  expect(inWords(ratio, 1.1)).toBe("too large, 220× the healthy limit");
  expect(inWords(ratio, 1e-3)).toBe("healthy");
  expect(inWords(ratio, 0)).toBe("too small, exactly zero");
  expect(inWords(ratio, 2e-5)).toMatch(/^too small, 10×/);
  expect(inWords(ratio, Number.NaN)).toBe("no record");
  expect(inWords(makeJudge("share", [0, 0.3]), 0.46)).toBe("too large, healthy is up to 30 %");
});
