/** One function a route. Addresses are relative to the document, so any path prefix or proxy works. */

import { decode, decodeBinary } from "./decode";
import { together } from "./together";
import type {
  EvidenceResponse,
  HeatmapResponse,
  LayerResponse,
  ModelResponse,
  RanksResponse,
  RejudgeResponse,
  ReportResponse,
  RunsResponse,
  ScalarsResponse,
} from "./types";

export interface Routes {
  runs: RunsResponse;
  report: ReportResponse;
  model: ModelResponse;
  heatmap: HeatmapResponse;
  evidence: EvidenceResponse;
  rejudge: RejudgeResponse;
  ranks: RanksResponse;
  scalars: ScalarsResponse;
  layer: LayerResponse;
}
export type Route = keyof Routes;
export type Parameters = Record<string, string | number | readonly string[] | null | undefined>;

/** `status` is 0 where no answer came at all. */
export type Answer<T> = { ok: true; data: T } | { ok: false; status: number; message: string };

/** Relative address with parameters in the order given; null and undefined are left out. */
export function address(route: Route | "together", parameters: Parameters = {}): string {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) {
    if (value === null || value === undefined) continue;
    for (const item of Array.isArray(value) ? value : [value]) query.append(name, String(item));
  }
  const text = query.toString();
  return text ? `${route}?${text}` : route;
}

/** Where replies come from. Faults come back as values, in a sentence; only an abort is thrown. */
export type Source = (route: Route, parameters: Parameters, signal?: AbortSignal) => Promise<Answer<unknown>>;

let source: Source = together(overHttp, (parameters, signal) => overHttp("together", parameters, signal));

/** A saved report answers from its own page. */
export function answerFrom(other: Source): void {
  source = other;
}

export const get = <R extends Route>(route: R, parameters: Parameters, signal?: AbortSignal) =>
  source(route, parameters, signal) as Promise<Answer<Routes[R]>>;

/** An answer under way. */
export interface Begun {
  response: Promise<Response>;
  body: Promise<ArrayBuffer>;
}

let begun: Begun | null = null;

/** The entry point has asked for the runs before there was anybody to read the answer; the next who asks gets it. */
export function answerRunsWith(listed: Begun): void {
  begun = listed;
}

function ask(route: string, url: URL, signal?: AbortSignal): Begun {
  const known = route === "runs" ? begun : null;
  if (known) {
    begun = null;
    return known;
  }
  const response = fetch(url, { ...(signal && { signal }), credentials: "same-origin", cache: "no-cache" });
  const body = response.then((answer) => answer.arrayBuffer());
  body.catch(() => undefined); // told where it is awaited
  return { response, body };
}

/** Routes whose answers are mostly numbers: they come in bytes. */
const ARRAYS: ReadonlySet<string> = new Set(["heatmap", "evidence", "scalars", "layer", "together"]);

async function overHttp(
  route: Route | "together",
  parameters: Parameters,
  signal?: AbortSignal,
): Promise<Answer<unknown>> {
  const asked = ARRAYS.has(route) ? { ...parameters, as: "binary" } : parameters;
  const url = new URL(address(route, asked), document.baseURI);
  const asking = ask(route, url, signal);
  let response: Response;
  try {
    response = await asking.response;
  } catch (error) {
    if (signal?.aborted) throw error;
    return { ok: false, status: 0, message: "TensorBoard does not answer. Is it still running?" };
  }
  try {
    const body = await asking.body;
    if (!response.ok) return { ok: false, status: response.status, message: sentence(response, body, route) };
    const isBinary = response.headers.get("content-type")?.startsWith("application/octet-stream");
    return { ok: true, data: isBinary ? decodeBinary(body) : decode(JSON.parse(textOf(body))) };
  } catch (error) {
    if (signal?.aborted) throw error;
    const found = error instanceof Error ? error.message : String(error);
    return { ok: false, status: response.status, message: `The answer to "${route}" could not be read: ${found}` };
  }
}

const textOf = (body: ArrayBuffer): string => new TextDecoder().decode(body);

function sentence(response: Response, body: ArrayBuffer, route: string): string {
  const isText = response.headers.get("content-type")?.startsWith("text/plain");
  const text = isText ? textOf(body).trim() : "";
  return text || `"${route}" answered with status ${response.status}; TensorBoard's log has the details.`;
}
