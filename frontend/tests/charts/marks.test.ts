import { describe, expect, it } from "vitest";
import { spread } from "../../src/charts/marks";

describe("spread", () => {
  it("leaves marks with room where they are", () => {
    expect(spread([10, 50, 90], 18, 8, 200)).toEqual([10, 50, 90]);
  });

  it("keeps those of one step apart, within the axis", () => {
    expect(spread([0, 0, 0], 18, 8, 200)).toEqual([8, 26, 44]);
    expect(spread([195, 200, 200], 18, 8, 192)).toEqual([156, 174, 192]);
  });

  it("draws closer where there are more marks than room", () => {
    const places = spread(Array(21).fill(5), 18, 8, 108);
    expect(places[0]).toBeCloseTo(8);
    expect(places[20]).toBeCloseTo(108);
  });

  it("bears none and one", () => {
    expect(spread([], 18, 0, 10)).toEqual([]);
    expect(spread([4], 18, 0, 10)).toEqual([4]);
  });
});
