import { describe, expect, it } from "vitest";
import { columnAt, farther, makeColumns, nearestColumn, pixelColumns, rowDistances } from "../../src/charts/columns";
import { makeScale } from "../../src/charts/scale";

const every8 = makeColumns([0, 8, 16, 24].map((step) => [step, step]));

describe("makeColumns", () => {
  it("lets a column last until the next", () => {
    expect([...every8.from]).toEqual([0, 8, 16, 24]);
    expect([...every8.to]).toEqual([8, 16, 24, 32]);
  });

  it("leaves a hole where records stop for long", () => {
    const columns = makeColumns([0, 1, 2, 500, 501].map((step) => [step, step]));
    expect(columnAt(columns, 2)).toBe(2);
    expect(columnAt(columns, 300)).toBe(-1);
    expect(columnAt(columns, 500)).toBe(3);
  });

  it("keeps a run whose cadence slows without holes", () => {
    const columns = makeColumns([0, 1, 2, 4, 8, 16, 32].map((step) => [step, step]));
    for (let step = 0; step < 32; step++) expect(columnAt(columns, step)).toBeGreaterThanOrEqual(0);
  });

  it("covers the steps a column stands for, alone too", () => {
    const columns = makeColumns([[100, 199]]);
    expect(columnAt(columns, 199)).toBe(0);
    expect(columnAt(columns, 200)).toBe(-1);
    expect(makeColumns([]).from).toHaveLength(0);
  });
});

describe("nearestColumn", () => {
  it("falls back to either side of a hole", () => {
    const columns = makeColumns([0, 1, 2, 500, 501].map((step) => [step, step]));
    expect(nearestColumn(columns, 10)).toBe(2);
    expect(nearestColumn(columns, 490)).toBe(3);
    expect(nearestColumn(columns, -5)).toBe(0);
    expect(nearestColumn(columns, 9999)).toBe(4);
    expect(nearestColumn(makeColumns([]), 3)).toBe(-1);
  });
});

describe("pixelColumns", () => {
  it("loses no column where several share a pixel", () => {
    const columns = makeColumns(Array.from({ length: 100 }, (_, i) => [i, i] as const));
    const { first, last } = pixelColumns(columns, makeScale("linear", [0, 100], [0, 10]), 10);
    const seen = new Set<number>();
    for (let p = 0; p < 10; p++) for (let c = first[p] as number; c <= (last[p] as number); c++) seen.add(c);
    expect(seen.size).toBe(100);
  });

  it("leaves pixels without a record empty", () => {
    const { first } = pixelColumns(every8, makeScale("linear", [0, 64], [0, 64]), 64);
    expect(first[31]).toBe(3);
    expect(first[32]).toBe(-1);
  });
});

describe("worst of a fold", () => {
  it("is the greatest distance in either direction", () => {
    expect(farther(0.3, -0.5)).toBe(-0.5);
    expect(farther(Number.NaN, 0)).toBe(0);
    expect(farther(0.2, Number.NaN)).toBe(0.2);
  });

  it("is taken column by column over the layers of a row", () => {
    const layers = Float32Array.from([0, 0.5, Number.NaN, 0.25, -0.75, Number.NaN]);
    expect([...rowDistances(layers, 3, [[0, 1], [1]])]).toEqual([0.25, -0.75, Number.NaN, 0.25, -0.75, Number.NaN]);
  });
});
