/** Replies that a saved report holds in its own page, in place of a server. */

import type { Answer, Parameters, Route, Source } from "./client";
import { decode } from "./decode";
import type { ScalarChart, ScalarsResponse } from "./types";

/** What `plugin/page.py` writes into the page. A packed reply is base64 of its JSON, deflated. */
export interface Saved {
  version: string;
  /** Seconds since 1970. */
  written: number;
  logdir: string;
  /** Runs that have a row in the list and nothing else. */
  runs_left_out: number;
  /** Sentences about what else was left out. */
  left_out: string[];
  replies: [route: string, run: string, about: string, packed: string][];
}

const key = (route: string, run: unknown, about: unknown) => JSON.stringify([route, run ?? "", String(about ?? "")]);

/** The parameter beside the run that a reply is about. Steps, columns and points are as they were when it was saved. */
const ABOUT: Partial<Record<Route, string>> = { heatmap: "statistic", evidence: "finding", layer: "layer" };

export function embedded(saved: Saved): Source {
  const replies = new Map(saved.replies.map(([route, run, about, packed]) => [key(route, run, about), packed]));
  const one = async (route: Route, run: unknown, about: unknown): Promise<unknown> => {
    const packed = replies.get(key(route, run, about));
    return packed === undefined ? undefined : decode(await unpack(packed));
  };
  return async (route, parameters): Promise<Answer<unknown>> => {
    const { run } = parameters;
    const picked = route === "scalars" ? tagsOf(parameters) : [];
    const about = ABOUT[route];
    const data = picked.length
      ? joined(await Promise.all(picked.map((tag) => one("scalars", run, tag))))
      : await one(route, run, about && parameters[about]);
    if (data === undefined)
      return { ok: false, status: 404, message: absent(route, replies.has(key("report", run, ""))) };
    if (route === "evidence" && typeof data === "object" && data && "absent" in data) {
      return { ok: false, status: 404, message: String(data.absent) };
    }
    return { ok: true, data };
  };
}

function tagsOf({ tag }: Parameters): readonly string[] {
  return Array.isArray(tag) ? tag : [];
}

/** The charts of several tags as one reply; tags that were not saved are missing from it. */
function joined(replies: readonly unknown[]): ScalarsResponse | undefined {
  const found = replies.filter((reply) => reply !== undefined) as ScalarsResponse[];
  if (!found[0]) return undefined;
  const charts: ScalarChart[] = found.flatMap((reply) => reply.charts);
  return { ...found[0], charts };
}

function absent(route: Route, holdsRun: boolean): string {
  if (!holdsRun) {
    return "This saved report holds only this run's line in the list. A report of this run alone has all of it: nnhealth inspect --format html.";
  }
  if (route === "evidence") return "This saved report holds no series for this finding.";
  return `This saved report does not hold this (${route}); TensorBoard's NN Health tab shows it from the log.`;
}

async function unpack(packed: string): Promise<unknown> {
  const bytes = Uint8Array.from(atob(packed), (character) => character.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return JSON.parse(await new Response(stream).text());
}
