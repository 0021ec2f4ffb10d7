import { describe, expect, test } from "vitest";
import type { AttentionHeads } from "../../src/api/types";
import { cellsOf, judgeOf, rowHeight, worstHead } from "../../src/charts/heads";

const attention: AttentionHeads = {
  layer: "attn",
  heads: [0, 1],
  heads_left_out: 0,
  steps: [
    [0, 3],
    [4, 7],
  ],
  strips: [
    {
      statistic: "attention-logit",
      title: "Largest logit",
      scale: "log",
      healthy: [0.1, 100],
      values: Float32Array.of(-3, 50, 20, 900),
    },
    {
      statistic: "attention-entropy",
      title: "Entropy",
      scale: "log",
      healthy: [0.05, 1],
      values: Float32Array.of(1.00001, 0.4, Number.NaN, 0),
    },
  ],
};
const [logit, entropy] = attention.strips as [AttentionHeads["strips"][0], AttentionHeads["strips"][0]];

describe("attention heads", () => {
  test("a small or negative logit is neutral, a large one is not", () => {
    const judge = judgeOf(logit);
    expect(judge.distance(-3)).toBe(0);
    expect(judge.distance(99)).toBe(0);
    expect(judge.distance(101)).toBeGreaterThan(0);
  });

  test("attention to all keys is neutral, to one key is not, and what was not read is nothing", () => {
    const judge = judgeOf(entropy);
    expect(judge.distance(1.00001)).toBe(0);
    expect(judge.distance(0)).toBeLessThan(0);
    expect(judge.distance(Number.NaN)).toBeNaN();
  });

  test("the worst head is that of all columns, or of the one asked for", () => {
    expect(worstHead(attention, logit)).toEqual({ head: 1, column: 1, value: 900 });
    expect(worstHead(attention, logit, 0)).toMatchObject({ head: 1, value: 20 });
    expect(worstHead(attention, entropy)).toEqual({ head: 1, column: 1, value: 0 });
    expect(worstHead(attention, { ...entropy, values: new Float32Array(4).fill(Number.NaN) })).toBeNull();
  });

  test("every head has a row, thinner the more there are", () => {
    const cells = cellsOf(attention, logit);
    expect(cells.rows.map((row) => row.layers[0])).toEqual([0, 1]);
    expect(cells.distances).toHaveLength(4);
    expect(rowHeight(4)).toBeGreaterThan(rowHeight(32));
    expect(rowHeight(1000)).toBeGreaterThan(1);
  });
});
