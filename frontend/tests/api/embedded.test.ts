import { deflateSync } from "node:zlib";
import { expect, it } from "vitest";
import { embedded, type Saved } from "../../src/api/embedded";

const packed = (content: unknown) => deflateSync(JSON.stringify(content)).toString("base64");
const chart = (tag: string) => ({ tags: [], tags_left_out: 0, charts: [{ id: `tag:${tag}`, title: tag, series: [] }] });
const HOSTILE = "__proto__";

const held: Saved = {
  version: "1",
  written: 0,
  logdir: "logs",
  runs_left_out: 1,
  left_out: [],
  replies: [
    ["runs", "", "", packed({ runs: [] })],
    ["report", HOSTILE, "", packed({ run: { run: HOSTILE } })],
    ["heatmap", HOSTILE, "update-ratio", packed({ statistic: "update-ratio", values_f32: "AACAPw==" })],
    ["layer", HOSTILE, "", packed({ layer: { name: "" } })],
    ["evidence", HOSTILE, "1", packed({ absent: "It follows from the shapes." })],
    ["scalars", HOSTILE, "", packed({ tags: ["a", "b", "c"], charts: [] })],
    ["scalars", HOSTILE, "a", packed(chart("a"))],
    ["scalars", HOSTILE, "b", packed(chart("b"))],
  ],
};
const ask = embedded(held);

it("answers from the page, whatever steps and columns are asked for", async () => {
  expect(await ask("runs", {})).toEqual({ ok: true, data: { runs: [] } });
  expect(await ask("heatmap", { run: HOSTILE, statistic: "update-ratio", from: 3, to: 9, columns: 100 })).toEqual({
    ok: true,
    data: { statistic: "update-ratio", values: new Float32Array([1]) },
  });
  expect(await ask("layer", { run: HOSTILE, layer: "", points: 5 })).toMatchObject({ ok: true });
});

it("puts the charts of several tags into one answer, without those it lacks", async () => {
  const answer = await ask("scalars", { run: HOSTILE, tag: ["a", "c", "b"] });
  expect(answer.ok && (answer.data as { charts: { title: string }[] }).charts.map((one) => one.title)).toEqual([
    "a",
    "b",
  ]);
  expect(await ask("scalars", { run: HOSTILE, tag: [] })).toMatchObject({ ok: true, data: { tags: ["a", "b", "c"] } });
});

it("says what it does not hold, and where it is to be had", async () => {
  const sentence = async (...asked: Parameters<typeof ask>) => {
    const answer = await ask(...asked);
    return answer.ok ? "" : answer.message;
  };
  expect(await sentence("report", { run: "constructor" })).toContain("only this run's line");
  expect(await sentence("evidence", { run: HOSTILE, finding: 0 })).toContain("no series");
  expect(await sentence("evidence", { run: HOSTILE, finding: 1 })).toBe("It follows from the shapes.");
  expect(await sentence("heatmap", { run: HOSTILE, statistic: "dead-units" })).toContain("NN Health tab");
  expect(await sentence("scalars", { run: HOSTILE, tag: ["c"] })).toContain("does not hold");
});
