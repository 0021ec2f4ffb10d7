import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { type Served, serve, settle } from "./server";

let server: Served;
let store: typeof import("../../src/state/store");
let reloads: typeof import("../../src/state/resources").reloads;
let actions: typeof import("../../src/state/actions");
let stops: (() => void)[];

beforeEach(async () => {
  server = serve();
  vi.resetModules(); // a tab just opened
  store = await import("../../src/state/store");
  actions = await import("../../src/state/actions");
  reloads = (await import("../../src/state/resources")).reloads;
  const { effect } = await import("@preact/signals");
  stops = [effect(() => void [store.runs.value, store.report.value])];
});
afterEach(() => {
  for (const stop of stops) stop();
  vi.unstubAllGlobals();
});

it("shows the worst run where nobody chose one, and chooses only once", async () => {
  stops.push(actions.chooseFirstRun());
  await settle();
  expect(store.run.value).toBe("gpt-small/lr3e-3");
  actions.openRun(null);
  reloads.value++;
  await settle();
  expect(store.run.value).toBeNull();
});

it("invites where no run has records, until asked for the rest", async () => {
  for (const row of server.runs.runs) Object.assign(row, { has_records: false, worst: null });
  reloads.value++;
  await settle();
  stops.push(actions.chooseFirstRun());
  expect([store.outlook.value, store.run.value]).toEqual(["empty", null]);
  store.scalarsAnyway.value = true;
  expect([store.outlook.value, store.run.value]).toEqual(["runs", "gpt-small/lr3e-3"]);
});

it("shows a run whose scalars look ill, though none has records, and waits while that is unknown", async () => {
  for (const row of server.runs.runs) Object.assign(row, { has_records: false, worst: null, verdict: "pending" });
  reloads.value++;
  await settle();
  stops.push(actions.chooseFirstRun());
  expect([store.outlook.value, store.run.value]).toEqual(["judging", null]);
  const worst = { rule: "overfitting", subject: "loss/val", severity: "warning", first_step: 8 };
  Object.assign(server.runs.runs[4] ?? {}, { verdict: "warning", worst });
  reloads.value++;
  await settle();
  expect([store.outlook.value, store.run.value]).toEqual(["runs", "resnet18/bs1024"]);
});

it("does not show a healthy run first while the next may be ill", async () => {
  const [ill, ...rest] = server.runs.runs.splice(0, 3);
  Object.assign(server.runs, {
    pending: rest.length,
    runs: [server.runs.runs.at(-2), ...rest.map((row) => ({ ...row, verdict: "pending", worst: null }))],
  });
  reloads.value++;
  await settle();
  stops.push(actions.chooseFirstRun());
  expect([store.outlook.value, store.run.value]).toEqual(["runs", null]);
  Object.assign(server.runs.runs[1] ?? {}, ill);
  reloads.value++;
  await settle();
  expect(store.run.value).toBe(ill?.run);
});

it("keeps the chosen finding through a reload that puts another before it", async () => {
  actions.openRun("gpt-small/lr3e-3");
  await settle();
  expect(store.finding.value).toBe(0);
  actions.selectFinding(3);
  expect(store.currentFinding.value?.rule).toBe("dead-units");
  reloads.value++;
  await settle();
  expect(server.asked.filter((route) => route.startsWith("report"))).toHaveLength(2);
  expect(store.currentFinding.value?.rule).toBe("dead-units");
});

it("keeps what it has when a reload fails, and says why", async () => {
  actions.openRun("gpt-small/lr3e-3");
  await settle();
  server.fail = "The disk is gone.";
  reloads.value++;
  await settle();
  expect(store.report.value).toMatchObject({ status: "error", error: "The disk is gone." });
  expect(store.findings.value).toHaveLength(5);
});

it("never shows one run's report under another's name", async () => {
  actions.openRun("gpt-small/lr3e-3");
  await settle();
  actions.openRun("gpt-small/lr3e-4");
  expect([store.run.value, store.runReport.value?.run]).toEqual(["gpt-small/lr3e-3", "gpt-small/lr3e-3"]);
  await settle();
  expect([store.run.value, store.runReport.value?.verdict]).toEqual(["gpt-small/lr3e-4", "healthy"]);
  expect(store.finding.value).toBe(-1);
});

it("follows the finding with the statistic, unless a person chose one since", async () => {
  actions.openRun("gpt-small/lr3e-3");
  await settle();
  expect(store.statistic.value).toBe("update-ratio");
  actions.selectFinding(1);
  expect(store.statistic.value).toBe("activation-std");
  store.chosenStatistic.value = "weight-norm";
  expect(store.statistic.value).toBe("weight-norm");
  actions.selectFinding(2); // of a scalar, which the heatmap does not show
  expect(store.statistic.value).toBe("weight-norm");
  actions.selectFinding(3);
  expect(store.statistic.value).toBe("dead-units");
});

it("walks through findings and stops at both ends", async () => {
  actions.openRun("gpt-small/lr3e-3");
  await settle();
  const seen = [store.finding.value];
  for (const by of [1, 1, 1, 1, 1, -1]) {
    actions.moveBy(by);
    seen.push(store.finding.value);
  }
  expect(seen).toEqual([0, 1, 2, 3, 4, 4, 3]);
  for (let n = 0; n < 9; n++) actions.moveBy(-1);
  expect(store.finding.value).toBe(0);
});

it("goes back from the layer, from the zoom, to all runs", async () => {
  actions.openRun("gpt-small/lr3e-3");
  store.range.value = [10, 20];
  store.layer.value = "head";
  actions.back();
  expect([store.layer.value, store.range.value]).toEqual([null, [10, 20]]);
  actions.back();
  expect([store.run.value, store.range.value]).toEqual(["gpt-small/lr3e-3", null]);
  actions.back();
  expect(store.run.value).toBeNull();
  actions.back();
  expect(store.run.value).toBeNull();
});

it("filters, cuts by verdict and ticks", async () => {
  await settle();
  store.filter.value = "gpt";
  store.segment.value = "healthy";
  expect(store.listed.value).toHaveLength(5);
  const names = store.overviewRows.value.map((item) => item.run);
  expect(names).toEqual(["gpt-small/lr1e-3", "gpt-small/lr3e-4"]);
  actions.toggleTick("gpt-small/lr1e-3");
  actions.tickAll(names);
  expect([...store.ticked.value].sort()).toEqual(names);
  actions.tickAll(names);
  expect(store.ticked.value.size).toBe(0);
});

it("turns to the run that was chosen last, and does not wait long for its replies", async () => {
  actions.openRun("gpt-small/lr3e-3");
  await settle();
  actions.openRun("gpt-small/lr3e-4");
  actions.openRun(null);
  expect(store.run.value).toBeNull();
  actions.openRun("gpt-small/lr3e-3");
  vi.stubGlobal("fetch", () => new Promise(() => undefined)); // no answer ever comes
  actions.openRun("unet/baseline");
  await settle();
  expect(store.run.value).toBe("gpt-small/lr3e-3");
  await new Promise((done) => setTimeout(done, 150));
  expect([store.run.value, store.report.value.status]).toEqual(["unet/baseline", "loading"]);
});
