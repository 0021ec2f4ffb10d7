import { expect, it } from "vitest";
import { decode, decodeBinary, decodeFloats } from "../../src/api/decode";

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

it("finds the arrays of a reply in bytes behind its JSON, exact or rounded", () => {
  const head = JSON.stringify({
    title: "NaN",
    limit: "NaN",
    others: { median_f32: [0, 2] },
    values_bf16: [8, 3],
    low_f32: null,
  });
  const padded = new TextEncoder().encode(head.padEnd(Math.ceil(head.length / 4) * 4));
  const reply = new Uint8Array(4 + padded.length + 16);
  new DataView(reply.buffer).setUint32(0, padded.length, true);
  reply.set(padded, 4);
  reply.set(new Uint8Array(Float32Array.of(1.1, -2).buffer), 4 + padded.length);
  reply.set(new Uint8Array(Uint16Array.of(0x3f80, 0x7fc0, 0xc120).buffer), 4 + padded.length + 8);
  expect(decodeBinary(reply.buffer)).toEqual({
    title: "NaN",
    limit: Number.NaN,
    others: { median: Float32Array.of(1.1, -2) },
    values: Float32Array.of(1, Number.NaN, -10),
    low: null,
  });
});
