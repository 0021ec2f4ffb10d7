/** What would change at the limit that is being tried, asked for when it has come to rest. */

import { computed, effect, signal } from "@preact/signals";
import type { RejudgeResponse } from "../api/types";
import { fetched, type Resource } from "./resources";
import { run, type Trial, trial } from "./store";

const REST_MS = 120;
const rested = signal<Trial | null>(null);

effect(() => {
  const wanted = trial.value;
  if (wanted === null) {
    rested.value = null;
    return undefined;
  }
  const timer = setTimeout(() => {
    rested.value = wanted;
  }, REST_MS);
  return () => clearTimeout(timer);
});

const NONE: Resource<RejudgeResponse> = { status: "idle", data: null, error: null };

export const rejudged = computed<Resource<RejudgeResponse>>(() => {
  if (run.value === null || rested.value === null) return NONE;
  const { rule, option, value } = rested.value;
  return fetched("rejudge", { run: run.value, rule, option, value }, { lane: "rejudge" }).value;
});

/** Two digits are as fine as a limit needs to be. */
export const rounded = (value: number): number => Number(value.toPrecision(2));
