import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { NOWHERE } from "../../src/lib/url";
import { followLocation, go, here } from "../../src/state/location";
import { cursor, folds, layer, range, run, settled, tags, ticked } from "../../src/state/store";
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

it("wakes nobody whose part of the address is as it was", () => {
  const address = (steps: string) =>
    `#nnhealth&p.nnhealth.run=a&p.nnhealth.ticked=b&p.nnhealth.tags=loss&p.nnhealth.folds=%2Bhead&p.nnhealth.steps=${steps}`;
  window.history.replaceState(null, "", address("5-9"));
  followLocation();
  const held = [ticked.value, tags.value, folds.value];
  const steps = range.value;
  const turn = (to: string) => {
    window.history.replaceState(null, "", to);
    window.dispatchEvent(new Event("popstate"));
  };
  turn(address("5-9"));
  expect(range.value).toBe(steps);
  turn(address("6-9"));
  expect(range.value).toEqual([6, 9]);
  [ticked.value, tags.value, folds.value].forEach((value, i) => {
    expect(value).toBe(held[i]);
  });
  turn(address("6-9").replace("%2Bhead", "-head"));
  expect([...folds.value]).toEqual([["head", false]]);
});
