/**
 * Turning to another run's page: not before what it begins with is there, unless that takes longer than a moment. A page that was
 * built from nothing first, and then filled reply by reply, would be laid out many times.
 */

import { fetchTogether } from "../charts/stepRange";
import { run, runs, saved } from "./store";

const MOMENT_MS = 100;
let turns = 0;

/** Calls `turn`, which puts the run called `name` in focus: now, or in a moment, unless another is turned to meanwhile. */
export function turnTo(name: string | null, turn: () => void): void {
  const mine = ++turns;
  const row = runs.peek().data?.runs.find((item) => item.run === name);
  const begun = row && row.verdict !== "pending" && run.peek() !== null && run.peek() !== name && !saved.peek();
  const replies = begun ? fetchTogether(row) : [];
  if (!replies.length) {
    turn();
    return;
  }
  let due = true;
  const once = () => {
    if (due && mine === turns) turn();
    due = false;
  };
  setTimeout(once, MOMENT_MS);
  void Promise.all(replies).then(once);
}
