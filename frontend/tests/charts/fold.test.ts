import { describe, expect, it } from "vitest";
import { type Block, layersUnder, layOut, makeTree, ROW, totalHeight } from "../../src/charts/fold";

const gpt = (blocks: number): string[] => [
  "embed.tok",
  "embed.proj",
  ...Array.from({ length: blocks }, (_, i) => ["ln_1", "attn", "mlp.fc"].map((part) => `blocks.${i}.${part}`)).flat(),
  "head",
];
const none = { chosen: new Map<string, boolean>(), marked: new Set<number>() };
const rowsOf = (blocks: Block[]) => blocks.flatMap((block) => block.rows);

describe("makeTree", () => {
  it("groups by entry of a repeated container, else by first parent", () => {
    expect(makeTree(gpt(2)).map((node) => [node.label, node.layers])).toEqual([
      ["embed", [0, 1]],
      ["blocks.0", [2, 3, 4]],
      ["blocks.1", [5, 6, 7]],
      ["head", [8]],
    ]);
  });

  it("looks through wrappers to the list within", () => {
    const names = [
      "model.encoder.layers.0.self_attn.q",
      "model.encoder.layers.0.fc",
      "model.encoder.layers.1.fc",
      "model.norm",
    ];
    expect(makeTree(names).map((node) => node.label)).toEqual([
      "model.encoder.layers.0",
      "model.encoder.layers.1",
      "model.norm",
    ]);
  });

  it("keeps a plain Sequential together", () => {
    expect(makeTree(["features.0", "features.3", "classifier"]).map((node) => node.label)).toEqual([
      "features",
      "classifier",
    ]);
  });

  it("keeps forward order where a module is entered twice, with keys of their own", () => {
    const tree = makeTree(["a.x", "b.x", "a.y"]);
    expect(tree.map((node) => node.label)).toEqual(["a", "b", "a"]);
    expect(new Set(tree.map((node) => node.key)).size).toBe(3);
  });

  it("gathers many blocks beneath their container", () => {
    const tree = makeTree(gpt(100));
    expect(tree.map((node) => node.label)).toEqual(["embed", "blocks", "head"]);
    expect(tree[1]?.children).toHaveLength(100);
    expect(tree[1]?.layers).toHaveLength(300);
  });

  it("bears a model without a name and without layers", () => {
    expect(makeTree([""]).map((node) => node.layers)).toEqual([[0]]);
    expect(makeTree([])).toEqual([]);
  });
});

describe("layOut", () => {
  const names = gpt(12);
  const tree = makeTree(names);

  it("opens what a finding points at and leaves the rest thin", () => {
    const blocks = layOut(tree, names, { ...none, marked: layersUnder(names, ["blocks.3.mlp"]) });
    expect(blocks.filter((block) => block.open && block.foldable).map((block) => block.node.label)).toEqual([
      "blocks.3",
    ]);
    const open = blocks.find((block) => block.node.label === "blocks.3");
    expect(open?.rows.map((row) => row.label)).toEqual(["ln_1", "attn", "mlp.fc"]);
    expect(open?.height).toBe(3 * ROW.open);
  });

  it("lets the user overrule", () => {
    const marked = layersUnder(names, ["blocks.3.mlp"]);
    const chosen = new Map([
      ["blocks.3", false],
      ["blocks.5", true],
    ]);
    const open = layOut(tree, names, { chosen, marked }).filter((block) => block.open && block.foldable);
    expect(open.map((block) => block.node.label)).toEqual(["blocks.5"]);
  });

  it("shows every layer exactly once, without overlap", () => {
    for (const count of [1, 12, 60, 120, 400]) {
      const many = gpt(count);
      const blocks = layOut(makeTree(many), many, none);
      const shown = rowsOf(blocks).flatMap((row) => row.layers);
      expect(shown).toEqual(many.map((_, i) => i));
      let end = 0;
      for (const row of rowsOf(blocks)) {
        expect(row.y).toBeGreaterThanOrEqual(end);
        end = row.y + row.height;
      }
      expect(totalHeight(blocks)).toBe(end);
    }
  });

  it("stays on a screen for a thousand layers", () => {
    const many = gpt(333);
    expect(totalHeight(layOut(makeTree(many), many, none))).toBeLessThan(700);
  });

  it("folds the groups of a large model to one row each", () => {
    const many = gpt(333);
    const blocks = layOut(makeTree(many), many, { ...none, chosen: new Map([["blocks/blocks.0", true]]) });
    expect(rowsOf(blocks).filter((row) => row.kind === "folded").length).toBeGreaterThanOrEqual(333);
  });

  it("shows around what a finding points at only what matters, until asked for more", () => {
    const many = gpt(100);
    const marked = layersUnder(many, ["blocks.60.attn"]);
    const blocks = layOut(makeTree(many), many, { ...none, marked });
    expect(blocks.map((block) => block.node.label)).toEqual([
      "embed",
      "blocks",
      "blocks.0–59",
      "blocks.60",
      "blocks.61–99",
      "head",
    ]);
    const opened = layOut(makeTree(many), many, { marked, chosen: new Map([["blocks.0–blocks.59", true]]) });
    expect(opened.filter((block) => /^blocks\.\d+$/.test(block.node.label))).toHaveLength(61);
    for (const shown of [blocks, opened]) {
      expect(rowsOf(shown).flatMap((row) => row.layers)).toEqual(many.map((_, i) => i));
    }
  });

  it("is never lower than its label", () => {
    for (const block of layOut(makeTree(["a.x", "b.x", ...gpt(12)]), ["a.x", "b.x", ...gpt(12)], none)) {
      expect(block.height).toBeGreaterThanOrEqual(14);
    }
  });
});

it("finds layers under a module by whole parts of the name", () => {
  expect([...layersUnder(["blocks.1.fc", "blocks.10.fc", "blocks.1"], ["blocks.1"])]).toEqual([0, 2]);
  expect(layersUnder(["a"], [""]).size).toBe(0);
});
