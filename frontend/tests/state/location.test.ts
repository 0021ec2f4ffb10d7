import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { NOWHERE } from "../../src/lib/url";
import { followLocation, go, here } from "../../src/state/location";
import { cursor, layer, range, run, settled, ticked } from "../../src/state/store";
import { serve } from "./server";

beforeEach(() => {
  serve();
  vi.useFakeTimers();
  go(NOWHERE);
  window.history.replaceState(null, "", "#nnhealth");
});
afterEach(() => {
  window.dispatchEvent(new Event("pagehide"));
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

const soon = () => vi.advanceTimersByTime(1000);

it("reads a deep link, writes what changes, and turns a page for a run or layer", () => {
  window.history.replaceState(null, "", "#nnhealth&p.nnhealth.run=a&p.nnhealth.steps=5-9&p.nnhealth.ticked=a%2Cb");
  followLocation();
  expect([run.value, range.value, [...ticked.value], settled.value]).toEqual(["a", [5, 9], ["a", "b"], true]);
  soon();
  const pages = window.history.length;

  range.value = [6, 8];
  soon();
  expect(window.location.hash).toContain("steps=6-8");
  cursor.value = 7;
  expect(window.history.length).toBe(pages);

  layer.value = "head";
  expect(window.location.hash).toContain("layer=head");
  expect(window.history.length).toBe(pages + 1);
});

it("follows Back, and writes its part again when TensorBoard dropped it", () => {
  followLocation();
  run.value = "a";
  soon();
  window.history.replaceState(null, "", "#nnhealth&p.nnhealth.run=b");
  window.dispatchEvent(new Event("popstate"));
  expect(run.value).toBe("b");
  window.history.replaceState(null, "", "#nnhealth");
  window.dispatchEvent(new Event("hashchange"));
  expect(window.location.hash).toBe("#nnhealth&p.nnhealth.run=b");
});

it("leaves another tab's address alone", () => {
  followLocation();
  run.value = "a";
  soon();
  window.history.replaceState(null, "", "#scalars");
  window.dispatchEvent(new Event("hashchange"));
  range.value = [1, 2];
  soon();
  expect(window.location.hash).toBe("#scalars");
  expect(here()).toMatchObject({ run: "a", range: [1, 2] });
});
