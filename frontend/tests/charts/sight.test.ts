import { describe, expect, it } from "vitest";
import { inSight, meets, WHOLE } from "../../src/charts/sight";

describe("what is in sight of a heatmap", () => {
  it("is all of it where it is not tall", () => {
    expect(inSight(WHOLE, -500, 900)).toEqual([0, WHOLE]);
    expect(inSight(80, 40, 900)).toEqual([0, 80]);
  });

  it("reaches beyond the window on either side and stays within the heatmap", () => {
    for (const height of [WHOLE + 1, 15_000]) {
      for (let above = -2000; above < height + 2000; above += 37) {
        const [top, bottom] = inSight(height, above, 900);
        expect(top).toBeGreaterThanOrEqual(0);
        expect(bottom).toBeLessThanOrEqual(height);
        expect(bottom).toBeGreaterThan(top);
        expect(bottom - top).toBeLessThanOrEqual(WHOLE);
        const shown = [Math.max(0, above), Math.min(height, above + 900)] as const;
        if (shown[1] <= shown[0]) continue;
        expect(top).toBeLessThanOrEqual(Math.max(0, shown[0] - 399));
        expect(bottom).toBeGreaterThanOrEqual(Math.min(height, shown[1] + 399));
      }
    }
  });

  it("changes in few steps while a page is scrolled", () => {
    const seen = new Set<string>();
    for (let above = 0; above < 4000; above++) seen.add(String(inSight(15_000, above, 900)));
    expect(seen.size).toBeLessThan(30);
  });

  it("holds the rows that touch it", () => {
    const rows = [0, 15, 30, 45].map((y) => ({ y, height: 15 }));
    expect(rows.map((row) => meets(row, [15, 31]))).toEqual([false, true, true, false]);
  });
});
