import { describe, expect, it } from "vitest";
import type { Finding, ReportResponse } from "../../src/api/types";
import { blocks, findingText, pieces, pythonTokens, reportText } from "../../src/lib/text";
import fixture from "../fixtures/report-critical.json";

const { run } = fixture as unknown as ReportResponse;

describe("pieces", () => {
  it("sets known names and code in monospace", () => {
    expect(pieces("The output of blocks.3 grew; call `clip()`.", ["blocks.3"])).toEqual([
      { text: "The output of " },
      { code: "blocks.3" },
      { text: " grew; call " },
      { code: "clip()" },
      { text: "." },
    ]);
  });

  it("takes the longest name, and what hangs on it, whole", () => {
    expect(pieces("blocks.3.mlp.fc.weight, then blocks.3", ["blocks.3", "blocks.3.mlp"])).toEqual([
      { code: "blocks.3.mlp.fc.weight" },
      { text: ", then " },
      { code: "blocks.3" },
    ]);
  });

  it("finds no name inside another word, and none that is a short word", () => {
    expect(pieces("ahead of the head", ["fc", "of"])).toEqual([{ text: "ahead of the head" }]);
    expect(pieces("xblocks.3", ["blocks.3"])).toEqual([{ text: "xblocks.3" }]);
  });

  it("loses nothing of hostile names", () => {
    const text = "a <b>.* and `x` $& (y";
    const whole = pieces(text, ["<b>.*", "(y"])
      .map((piece) => piece.text ?? piece.code)
      .join("");
    expect(whole).toBe(text.replaceAll("`", ""));
  });
});

it("writes a finding to be pasted", () => {
  const text = findingText(run.findings[0] as Finding, 1);
  expect(text.split("\n")[0]).toBe(
    "1. Critical: Update ratio too high (update-ratio-too-high) in blocks.3.mlp, step 398–430",
  );
  expect(text).toContain("   - Clip the gradient norm");
});

it("writes a run's verdict with every finding", () => {
  const text = reportText(run);
  expect(text).toContain("Updates in blocks.3.mlp are too large from step 398");
  expect(text).toContain("Try first: Lower the peak learning rate");
  for (const finding of run.findings) expect(text).toContain(finding.message);
});

it("tells strings, numbers and comments of Python apart", () => {
  const kinds = pythonTokens('watch(m, rules={"a-1": {"max": 0.2}})  # or False').map(({ kind, text }) => [kind, text]);
  expect(kinds).toEqual([
    ["plain", "watch(m, rules={"],
    ["string", '"a-1"'],
    ["plain", ": {"],
    ["string", '"max"'],
    ["plain", ": "],
    ["number", "0.2"],
    ["plain", "}})  "],
    ["comment", "# or False"],
  ]);
});

it("reads the Markdown of rule pages", () => {
  expect(
    blocks("# Title\n\nOne\ntwo.\n\n- a\n  more\n- b\n\n```python\nx = 1\n\ny\n```\n\nUnder\n-----\ntext"),
  ).toEqual([
    { kind: "heading", text: "Title" },
    { kind: "paragraph", text: "One two." },
    { kind: "list", items: ["a more", "b"] },
    { kind: "code", text: "x = 1\n\ny" },
    { kind: "heading", text: "Under" },
    { kind: "paragraph", text: "text" },
  ]);
});
