import { expect, it } from "vitest";
import { decode, decodeFloats } from "../../src/api/decode";

const base64 = (values: number[]) => btoa(String.fromCharCode(...new Uint8Array(Float32Array.from(values).buffer)));

it("turns base64 into float32, NaN and infinities included", () => {
  expect(decodeFloats(base64([1.5, Number.NaN, Number.NEGATIVE_INFINITY]))).toEqual(
    Float32Array.of(1.5, Number.NaN, Number.NEGATIVE_INFINITY),
  );
  expect(decodeFloats("")).toHaveLength(0);
});

it("refuses bytes that are no whole numbers", () => expect(() => decodeFloats(btoa("abcde"))).toThrow("5 bytes"));

it("renames arrays and restores numbers, however deep", () => {
  const answer = {
    values_f32: base64([2]),
    low_f32: null,
    others: { median_f32: base64([3]) },
    evidence: { value: "NaN", healthy: [0, "Infinity"] },
  };
  expect(decode(answer)).toEqual({
    values: Float32Array.of(2),
    low: null,
    others: { median: Float32Array.of(3) },
    evidence: { value: Number.NaN, healthy: [0, Number.POSITIVE_INFINITY] },
  });
});

it("leaves names alone, though a run be called NaN", () => {
  const answer = () => ({
    run: "NaN",
    layers: ["Infinity", "a"],
    tags: ["NaN"],
    sentence: [{ code: "NaN" }, { text: "NaN" }],
  });
  expect(decode(answer())).toEqual(answer());
});
