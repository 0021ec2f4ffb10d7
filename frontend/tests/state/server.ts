/** A server in the test's own memory, answering with the fixtures. */

import { vi } from "vitest";
import critical from "../fixtures/report-critical.json";
import healthy from "../fixtures/report-healthy.json";
import runs from "../fixtures/runs.json";

export interface Served {
  runs: typeof runs;
  /** Every address asked for, in order. */
  asked: string[];
  fail: string | null;
}

export function serve(): Served {
  const served: Served = { runs: structuredClone(runs), asked: [], fail: null };
  vi.stubGlobal("fetch", async (url: URL, init: RequestInit = {}) => {
    const route = `${url.pathname.split("/").at(-1)}${url.search}`;
    served.asked.push(route);
    await Promise.resolve();
    init.signal?.throwIfAborted();
    if (served.fail) return new Response(served.fail, { status: 500, headers: { "content-type": "text/plain" } });
    if (route === "runs") return Response.json(served.runs);
    const run = url.searchParams.get("run");
    const row = served.runs.runs.find((item) => item.run === run);
    if (!row || !route.startsWith("report"))
      return new Response(`no ${route}`, { status: 404, headers: { "content-type": "text/plain" } });
    const report = structuredClone(row.verdict === "critical" ? critical : healthy);
    report.run.run = row.run;
    return Response.json(report);
  });
  return served;
}

/** Lets every promise and microtask that is under way come to its end. */
export const settle = (): Promise<void> => new Promise((done) => setTimeout(done, 5));
