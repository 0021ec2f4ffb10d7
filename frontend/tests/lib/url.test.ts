import { describe, expect, it } from "vitest";
import { formatHash, isOurs, NOWHERE, type Place, parseHash } from "../../src/lib/url";

const PLACE: Place = {
  run: "gpt-small/lr3e-3 a&b=c,d",
  finding: "update-ratio-too-high@blocks.3.mlp",
  statistic: "gradient-norm",
  range: [10, 400],
  layer: "blocks.3.mlp.fc",
  ticked: ["a,b", "c/d"],
  tags: ["loss/train", "100%"],
  folds: [
    ["blocks.3", true],
    ["embed", false],
  ],
  ratio: false,
  trial: { rule: "dead-units", option: "share", value: 1e-3 },
  filter: "^gpt.*(lr|wd)",
  sort: "name",
};

describe("the hash", () => {
  it("brings back what was written", () => expect(parseHash(formatHash(PLACE))).toEqual(PLACE));

  it("says only what differs from the start, and always the run", () => {
    expect(formatHash({ ...NOWHERE, run: "a/b" })).toBe("#nnhealth&p.nnhealth.run=a%2Fb");
    expect(formatHash(NOWHERE)).toBe("#nnhealth&p.nnhealth.run=");
    expect(parseHash(formatHash(NOWHERE))).toEqual(NOWHERE);
  });

  it("tells the model itself, a layer without a name, from no layer", () => {
    expect(parseHash(formatHash({ ...PLACE, layer: "" }))?.layer).toBe("");
    expect(parseHash(formatHash({ ...PLACE, layer: null }))?.layer).toBeNull();
  });

  it("is no place of ours on another tab, or after TensorBoard dropped it", () => {
    expect(parseHash("#scalars&p.nnhealth.run=a")).toBeNull();
    expect(parseHash("#nnhealth")).toBeNull();
    expect(parseHash("#nnhealth&p.other.run=a")).toBeNull();
    expect(isOurs("#nnhealth")).toBe(true);
    expect(isOurs("#nnhealthier")).toBe(false);
    expect(isOurs("")).toBe(false);
  });

  it.each(["5", "400-10", "-3-9", "a-b", "1-2-3"])("takes %s for no range of steps", (text) => {
    expect(parseHash(`#nnhealth&p.nnhealth.steps=${text}`)?.range).toBeNull();
  });

  it("survives a broken escape", () => expect(parseHash("#nnhealth&p.nnhealth.run=50%")?.run).toBe("50%"));
});
