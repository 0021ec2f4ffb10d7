/** JSON of the server, with the arrays and numbers that JSON lacks restored. */

const ENDING = /_(f32|bf16)$/;
const NON_FINITE = new Map([
  ["NaN", Number.NaN],
  ["Infinity", Number.POSITIVE_INFINITY],
  ["-Infinity", Number.NEGATIVE_INFINITY],
]);
/** Fields of text: a run, tag or layer may well be called "NaN". */
const TEXT = new Set(
  (
    "run runs logdir rule rules subject subjects layer layers tag tags name type watch statistic statistics unit title subtitle " +
    "message advice why reason error errors text code sentence try_first closest needs path snippet rule_page url " +
    "optimizer optimizers rank parameter option kind python toml pixels help dtype id role scale direction severity verdict status group"
  ).split(" "),
);

export function decodeFloats(base64: string): Float32Array {
  const binary = atob(base64);
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i);
  if (bytes.length % 4) throw new Error(`expected whole float32 values, found ${bytes.length} bytes`);
  return new Float32Array(bytes.buffer);
}

/** An array that lies behind the JSON: where, and how many numbers. */
function placed([at, count]: [number, number], kind: string, bytes: ArrayBuffer): Float32Array {
  if (kind === "f32") return new Float32Array(bytes, at, count);
  const halves = new Uint16Array(bytes, at, count);
  const whole = new Uint32Array(count);
  for (let i = 0; i < count; i++) whole[i] = (halves[i] as number) << 16;
  return new Float32Array(whole.buffer);
}

/** A reply in bytes: the length of its JSON, the JSON, and its arrays. */
export function decodeBinary(reply: ArrayBuffer): unknown {
  const size = new DataView(reply).getUint32(0, true);
  const text = new TextDecoder().decode(new Uint8Array(reply, 4, size));
  return decode(JSON.parse(text), "", reply.slice(4 + size));
}

/** `value` as a server sent it under `key`; containers are changed in place. `bytes`: arrays sent beside it. */
export function decode(value: unknown, key = "", bytes?: ArrayBuffer): unknown {
  if (typeof value === "string") return TEXT.has(key) ? value : (NON_FINITE.get(value) ?? value);
  if (Array.isArray(value)) {
    for (let i = 0; i < value.length; i++) {
      const item: unknown = value[i];
      if (typeof item !== "number") value[i] = decode(item, key, bytes);
    }
    return value;
  }
  if (value === null || typeof value !== "object") return value;
  const object = value as Record<string, unknown>;
  for (const [name, item] of Object.entries(object)) {
    const kind = ENDING.exec(name)?.[1];
    if (!kind) {
      object[name] = decode(item, name, bytes);
      continue;
    }
    delete object[name];
    object[name.replace(ENDING, "")] =
      typeof item === "string"
        ? decodeFloats(item)
        : item && bytes
          ? placed(item as [number, number], kind, bytes)
          : null;
  }
  return object;
}
