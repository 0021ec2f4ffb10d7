/** Questions about one run that are asked in the same moment go to the server as one: each request costs more than its answer. */

import type { Answer, Parameters, Route, Source } from "./client";

/** Routes that the server answers together. */
const JOINED: ReadonlySet<Route> = new Set(["report", "model", "heatmap", "scalars"]);

interface Asked {
  route: Route;
  parameters: Parameters;
  signal: AbortSignal | undefined;
  answer: (reply: Answer<unknown> | Promise<Answer<unknown>>) => void;
}

/** Asks the routes in `of`, with the parameters of all of them. */
type Joint = (parameters: Parameters, signal: AbortSignal) => Promise<Answer<unknown>>;

/** `alone`, where several that can be are asked by `joint`. */
export function together(alone: Source, joint: Joint): Source {
  let waiting: Asked[] = [];

  function send(): void {
    const asked = waiting.filter(({ signal }) => !signal?.aborted);
    waiting = [];
    for (const group of groups(asked)) {
      if (group.length > 1) void askJointly(group, alone, joint);
      else for (const { route, parameters, signal, answer } of group) answer(alone(route, parameters, signal));
    }
  }

  return (route, parameters, signal) => {
    if (!JOINED.has(route) || signal?.aborted) return alone(route, parameters, signal);
    if (!waiting.length) queueMicrotask(send);
    return new Promise((answer, fail) => {
      signal?.addEventListener("abort", () => fail(signal.reason), { once: true });
      waiting.push({ route, parameters, signal, answer });
    });
  };
}

async function askJointly(group: Asked[], alone: Source, joint: Joint): Promise<void> {
  const abort = new AbortController();
  const wanted = () => group.filter(({ signal }) => !signal?.aborted);
  for (const { signal } of group) {
    signal?.addEventListener("abort", () => wanted().length || abort.abort(), { once: true });
  }
  const parameters = Object.assign({}, ...group.map((asked) => asked.parameters));
  let reply: Answer<unknown> | null = null;
  try {
    reply = await joint({ of: group.map(({ route }) => route), ...parameters }, abort.signal);
  } catch {
    if (abort.signal.aborted) return; // whoever asked has been told so
  }
  const parts = reply?.ok ? (reply.data as Record<string, unknown>) : null;
  for (const { route, parameters: own, signal, answer } of wanted()) {
    // Of a fault each hears for itself: it may be that of another.
    answer(parts && route in parts ? { ok: true, data: parts[route] } : alone(route, own, signal));
  }
}

/** Questions that one request can ask: of different routes, about one run, with no parameter of two values. */
function groups(asked: readonly Asked[]): Asked[][] {
  const found: { of: Asked[]; values: Map<string, string> }[] = [];
  for (const one of asked) {
    const values = Object.entries(one.parameters).map(([name, value]) => [name, String(value ?? "")] as const);
    const fits = found.find(
      (group) =>
        group.of.every(({ route }) => route !== one.route) &&
        values.every(([name, value]) => (group.values.get(name) ?? value) === value) &&
        group.values.get("run") === String(one.parameters.run),
    );
    const group = fits ?? { of: [], values: new Map<string, string>() };
    if (!fits) found.push(group);
    group.of.push(one);
    for (const [name, value] of values) group.values.set(name, value);
  }
  return found.map(({ of }) => of);
}
