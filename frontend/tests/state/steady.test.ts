import { effect, signal } from "@preact/signals";
import { expect, it, vi } from "vitest";
import { steady } from "../../src/state/steady";

it("stays the same object, and wakes nobody, while the items are equal", () => {
  const source = signal<readonly number[] | null>([1, Number.NaN]);
  const kept = steady(() => source.value);
  const first = kept.value;
  const seen = vi.fn();
  const stop = effect(() => seen(kept.value));
  source.value = [1, Number.NaN];
  expect(kept.value).toBe(first);
  expect(seen).toHaveBeenCalledTimes(1);

  for (const other of [[1], [1, 2], null, []]) {
    source.value = other;
    expect(kept.value).toEqual(other);
  }
  expect(seen).toHaveBeenCalledTimes(5);
  stop();
});
