import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { type Served, serve, settle } from "./server";

let server: Served;
let { fetched, refetch, reloads }: typeof import("../../src/state/resources") = {} as never;
let { effect }: typeof import("@preact/signals") = {} as never;

beforeEach(async () => {
  server = serve();
  vi.resetModules(); // nothing fetched yet
  ({ fetched, refetch, reloads } = await import("../../src/state/resources"));
  ({ effect } = await import("@preact/signals"));
});
afterEach(() => vi.unstubAllGlobals());

it("asks once however many read", async () => {
  const stops = [1, 2, 3].map(() => effect(() => void fetched("runs").value));
  await settle();
  expect(server.asked).toEqual(["runs"]);
  expect(fetched("runs").value.status).toBe("ready");
  for (const stop of stops) stop();
});

it("asks again after a reload, showing the old meanwhile", async () => {
  const seen: string[] = [];
  const stop = effect(() => {
    const { status, data } = fetched("runs").value;
    seen.push(`${status} ${data?.runs.length ?? "-"}`);
  });
  await settle();
  server.runs.runs.length = 2;
  reloads.value++;
  await settle();
  stop();
  expect(seen.at(0)).toBe("loading -");
  expect(seen).toContain("loading 9");
  expect(seen.at(-1)).toBe("ready 2");
});

it("lets a newer request of the same lane supersede the older", async () => {
  const older = fetched("report", { run: "gpt-small/lr3e-3" }, { lane: "report" });
  await Promise.resolve();
  const newer = fetched("report", { run: "gpt-small/lr3e-4" }, { lane: "report" });
  await settle();
  expect([older.value.status, newer.value.status]).toEqual(["loading", "ready"]);
  fetched("report", { run: "gpt-small/lr3e-3" }, { lane: "report" });
  await settle();
  expect(older.value.status).toBe("ready");
});

it("turns a fault into a sentence and recovers", async () => {
  server.fail = "No.";
  const runs = fetched("runs");
  await settle();
  expect(runs.value).toEqual({ status: "error", data: null, error: "No." });
  server.fail = null;
  refetch("runs");
  await settle();
  expect(runs.value).toMatchObject({ status: "ready", error: null });
});
it("asks ahead for what nobody shows yet, and only where it is not known", async () => {
  const { fetchAhead } = await import("../../src/state/resources");
  await fetchAhead("runs", {});
  expect(server.asked).toEqual(["runs"]);
  await fetchAhead("runs", {});
  expect(fetched("runs").value.status).toBe("ready");
  await settle();
  expect(server.asked).toEqual(["runs"]);
  reloads.value++;
  await fetchAhead("runs", {});
  expect(server.asked).toEqual(["runs", "runs"]);
});

it("does not ask for what came with the list of runs", async () => {
  const report = { schema: 1, problems: [], run: { run: "vit" } };
  Object.assign(server.runs, { first: { run: "vit", report, model: null } });
  const stop = effect(() => void fetched("runs").value);
  await settle();
  expect(fetched("report", { run: "vit" }).value).toEqual({ status: "ready", data: report, error: null });
  void fetched("report", { run: "resnet18/bs1024" }).value;
  await settle();
  stop();
  expect(server.asked).toEqual(["runs", "report?run=resnet18%2Fbs1024"]);
});

it("does not wait for what was asked for and then came with the list of runs", async () => {
  const report = { schema: 1, problems: [], run: { run: "vit" } };
  Object.assign(server.runs, { first: { run: "vit", report, model: null } });
  const asked = fetched("report", { run: "vit" });
  await Promise.resolve();
  const seen: unknown[] = [];
  const stop = effect(() => void seen.push(asked.value.data));
  void fetched("runs").value;
  await settle();
  stop();
  expect(seen).toEqual([null, report]);
  expect(asked.value).toEqual({ status: "ready", data: report, error: null });
});
