/** What has been fetched, by address: each answer is kept, shown while it is fetched again, and dropped when long unused. */

import { type ReadonlySignal, type Signal, signal, untracked } from "@preact/signals";
import { address, get, type Parameters, type Route, type Routes } from "../api/client";
import type { RunsResponse } from "../api/types";

export interface Resource<T> {
  status: "idle" | "loading" | "ready" | "error";
  /** The last good answer, kept while a newer one is fetched and when that fails. */
  data: T | null;
  error: string | null;
}

interface Entry {
  state: Signal<Resource<unknown>>;
  route: Route;
  parameters: Parameters;
  /** Value of `reloads` at which it was last asked for. */
  asked: number;
  abort: AbortController | null;
  lane: string | null;
}

const KEPT = 60;
const entries = new Map<string, Entry>();

/** Counts TensorBoard's reloads; whoever reads a resource asks again when it moves on. */
export const reloads = signal(0);

export interface Options {
  /** Requests of one lane supersede each other: asking for a new one aborts the others under way. */
  lane?: string;
}

/**
 * The resource at an address, as a signal. The first reader starts the request; call it where signals are tracked
 * (a component, a `computed`), so that a reload is noticed.
 */
export function fetched<R extends Route>(
  route: R,
  parameters: Parameters = {},
  options: Options = {},
): ReadonlySignal<Resource<Routes[R]>> {
  const key = address(route, parameters);
  const now = reloads.value;
  let entry = entries.get(key);
  if (!entry) {
    const state = signal<Resource<unknown>>({ status: "loading", data: null, error: null });
    entry = { state, route, parameters, asked: -1, abort: null, lane: options.lane ?? null };
  } else {
    entries.delete(key);
  }
  entries.set(key, entry); // most recently used last
  if (entry.asked < now) {
    entry.asked = now;
    const wanted = entry;
    queueMicrotask(() => load(key, wanted));
  }
  return entry.state as Signal<Resource<Routes[R]>>;
}

const POINTS = 600;

/** The series behind a finding, by its index in the report; the chart and the heatmap's legend read the same. */
export const fetchedEvidence = (run: string, finding: number) =>
  fetched("evidence", { run, finding, points: POINTS }, { lane: "evidence" });

/** Asks again for one resource, now. */
export function refetch(route: Route, parameters: Parameters = {}): void {
  const key = address(route, parameters);
  const entry = entries.get(key);
  if (entry) load(key, entry);
}

/** Asks for what nobody shows yet; resolves when the answer has come. Null where it is known. */
export function fetchAhead<R extends Route>(route: R, parameters: Parameters): Promise<void> | null {
  const known = entries.get(address(route, parameters));
  if (known && known.asked >= reloads.peek() && known.state.peek().status !== "loading") return null;
  const state = untracked(() => fetched(route, parameters));
  return new Promise<void>((done) => {
    const stop = state.subscribe(({ status }) => {
      if (status === "loading") return;
      queueMicrotask(() => stop());
      done();
    });
  });
}

async function load(key: string, entry: Entry): Promise<void> {
  if (entry.lane) supersede(entry.lane, key);
  entry.abort?.abort();
  const abort = new AbortController();
  entry.abort = abort;
  const before = entry.state.peek();
  if (before.status !== "loading") entry.state.value = { ...before, status: "loading" };
  try {
    const answer = await get(entry.route, entry.parameters, abort.signal);
    if (abort.signal.aborted) return;
    entry.abort = null;
    if (answer.ok && entry.route === "runs") keepFirst(answer.data as RunsResponse);
    entry.state.value = answer.ok
      ? { status: "ready", data: answer.data, error: null }
      : { status: "error", data: entry.state.peek().data, error: answer.message };
  } catch (error) {
    if (!abort.signal.aborted) throw error;
  }
  evict();
}

/** What came with the list of runs need not be asked for; nor awaited, where it was. */
function keepFirst({ first }: RunsResponse): void {
  if (!first) return;
  const parameters = { run: first.run };
  for (const [route, data] of [["report", first.report] as const, ["model", first.model] as const]) {
    const key = address(route, parameters);
    if (!data) continue;
    const ready: Resource<unknown> = { status: "ready", data, error: null };
    const asked = entries.get(key);
    if (!asked) {
      entries.set(key, { state: signal(ready), route, parameters, asked: reloads.peek(), abort: null, lane: null });
    } else if (asked.state.peek().data === null && asked.state.peek().error === null) {
      asked.abort?.abort();
      asked.abort = null;
      asked.state.value = ready;
    }
  }
}

function supersede(lane: string, key: string): void {
  for (const [other, entry] of entries) {
    if (entry.lane !== lane || other === key || !entry.abort) continue;
    entry.abort.abort();
    entry.abort = null;
    entry.asked = -1; // whoever wants it later asks anew
  }
}

function evict(): void {
  for (const [key, entry] of entries) {
    if (entries.size <= KEPT) return;
    if (!entry.abort && entry.route !== "runs") entries.delete(key);
  }
}
