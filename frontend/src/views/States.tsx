/** What there is to see where there is nothing to judge: loading, empty, error, partial, stale. */

import { useEffect, useState } from "preact/hooks";
import type { Problem, RunsResponse } from "../api/types";
import { plural } from "../lib/format";
import { refetch } from "../state/resources";
import { scalarsAnyway } from "../state/store";
import { CopyButton, Python } from "./Prose";

/** Says nothing for the first moment, so that a quick answer does not flash. */
export function Loading({ what }: { what: string }) {
  const [slow, setSlow] = useState(false);
  useEffect(() => {
    const timer = setTimeout(() => setSlow(true), 300);
    return () => clearTimeout(timer);
  }, []);
  return (
    <div class="loading" role="status" aria-busy="true">
      {slow && (
        <>
          <span class="bar" aria-hidden="true" />
          <h1>{what}</h1>
        </>
      )}
    </div>
  );
}

export function Fault({ title, message, retry }: { title: string; message: string; retry: () => void }) {
  return (
    <section class="card fault" role="alert">
      <h1>{title}</h1>
      <p>{message}</p>
      <button type="button" class="button" onClick={retry}>
        Try again
      </button>
    </section>
  );
}

/** Data are shown, yet a newer answer could not be had. */
export function Outdated({ message, retry }: { message: string; retry: () => void }) {
  return (
    <section class="banner" role="status">
      <span>This is what was read last; the newest could not be had. {message}</span>
      <button type="button" class="link" onClick={retry}>
        Try again
      </button>
    </section>
  );
}

/** Files that could not be read, or not whole. */
export function Problems({ problems }: { problems: readonly Problem[] }) {
  if (!problems.length) return null;
  return (
    <details class="banner" open={problems.length < 3}>
      <summary>{plural(problems.length, "file")} could not be read whole; what follows rests on the rest</summary>
      <ul>
        {problems.map((problem) => (
          <li key={`${problem.path} ${problem.message}`}>
            <code>{problem.path}</code>: {problem.message}
          </li>
        ))}
      </ul>
    </details>
  );
}

export const THREE_LINES = `from tb_nnhealth import SummaryWriter   # was torch.utils.tensorboard

with SummaryWriter("runs/exp1") as writer:
    writer.watch(model, optimizer, criterion=criterion)
    for step, (x, y) in enumerate(loader):
        ...                             # your loop, unchanged`;
/** Lines of it that a person adds or changes. */
const NEW = new Set([0, 2, 3]);

export function ThreeLines() {
  return (
    <div class="code three-lines">
      <pre>
        {THREE_LINES.split("\n").map((line, i) => (
          <span key={i} class={NEW.has(i) ? "line new" : "line"}>
            <Python code={line || " "} />
          </span>
        ))}
      </pre>
      <CopyButton text={() => THREE_LINES} label="Copy the lines" />
    </div>
  );
}

export function Empty({ runs }: { runs: RunsResponse }) {
  const found = runs.runs.length
    ? `${plural(runs.runs.length, "run")}, ${plural(runs.scalar_tags, "scalar tag")}, no health records.`
    : "No runs there yet.";
  return (
    <main class="empty" aria-label="No health records yet">
      <Cells />
      <h1>No health records yet</h1>
      <p>Change the import, watch the model, train as before. Findings appear from step 0.</p>
      <ThreeLines />
      <div class="empty-cards">
        <section class="card">
          <h2 class="small">Looked in</h2>
          <p>
            <code>{runs.logdir || "the log directories that TensorBoard was given"}</code>
          </p>
          <p>{found}</p>
          {runs.runs.length > 0 && runs.scalar_tags > 0 && (
            <button type="button" class="link" onClick={() => (scalarsAnyway.value = true)}>
              Check their losses anyway
            </button>
          )}
        </section>
        <section class="card">
          <h2 class="small">See it work first</h2>
          <div class="code">
            <code>nnhealth demo</code>
            <CopyButton text={() => "nnhealth demo"} label="Copy the command" />
          </div>
          <p>Trains a few small models, healthy and faulty.</p>
        </section>
      </div>
      <p class="hint">Bit-for-bit the same training. This page checks for new data on TensorBoard's reload.</p>
    </main>
  );
}

/** A heatmap in small: one row of many goes wrong. */
function Cells() {
  const columns = 60;
  const rows = 9;
  const ill = 12;
  return (
    <svg class="cells" viewBox={`0 0 ${columns * 10} ${rows * 10}`} aria-hidden="true">
      {Array.from({ length: rows * columns }, (_, i) => {
        const [row, column] = [Math.floor(i / columns), i % columns];
        const at = row === 5 ? Math.max(0, column - (columns - ill) + 1) / ill : 0;
        return (
          <rect
            key={i}
            x={column * 10 + 0.5}
            y={row * 10 + 0.5}
            width="9"
            height="9"
            rx="1"
            class={at ? "ill" : ""}
            style={at ? { "--at": at } : {}}
          />
        );
      })}
    </svg>
  );
}

export const retryRuns = (): void => refetch("runs");
