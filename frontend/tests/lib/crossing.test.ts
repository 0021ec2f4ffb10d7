import { describe, expect, it } from "vitest";
import { crossedAt, crossingWords } from "../../src/lib/crossing";

const steps = [0, 10, 20, 30, 40];
const words = (values: number[], onset: number, direction: "above" | "below" = "above", limit: number | null = 5) =>
  crossingWords({ steps, values: Float32Array.from(values), limit, direction }, onset, String);

describe("words about the onset", () => {
  it("name the step at which the series crosses", () => {
    expect(words([1, 1, 9, 9, 9], 20)).toBe("crosses the limit at step 20");
    expect(words([9, 9, 1, 1, 1], 20, "below")).toBe("falls below the limit at step 20");
  });

  it("take the next point for the onset between two", () => {
    expect(words([1, 1, 9, 9, 9], 15)).toBe("crosses the limit at step 15");
  });

  it("tell of an onset that comes before the crossing", () => {
    expect(words([1, 1, 1, 1, 9], 10)).toBe("from step 10, crosses the limit at 40");
    expect(words([9, 9, 9, 9, 1], 0, "below")).toBe("from step 0, falls below the limit at 40");
  });

  it("tell of a series that begins beyond", () => {
    expect(words([9, 9, 9, 9, 9], 0)).toBe("beyond the limit from step 0");
  });

  it("claim no crossing where there is none, or no limit", () => {
    expect(words([1, 1, 1, 1, 1], 20)).toBe("from step 20");
    expect(words([1, 1, 9, 9, 9], 20, "above", null)).toBe("from step 20");
  });

  it("pass over what was not measured", () => {
    const values = Float32Array.from([1, 1, Number.NaN, 9, 9]);
    expect(crossedAt({ steps, values, limit: 5, direction: "above" }, 20)).toBe(30);
  });
});
