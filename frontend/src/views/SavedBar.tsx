/** The head of a saved report: of what and when it is, and what it leaves out. */

import type { Saved } from "../api/embedded";
import { plural } from "../lib/format";
import { DARK } from "../lib/theme";
import { runs, theme } from "../state/store";

export function SavedBar({ saved }: { saved: Saved }) {
  const all = runs.value.data?.runs.length ?? 0;
  const written = new Date(saved.written * 1000).toISOString().slice(0, 16).replace("T", " ");
  const left = [
    ...(saved.runs_left_out
      ? [`Of ${plural(saved.runs_left_out, "run")} it holds the line in the list and no more.`]
      : []),
    ...saved.left_out,
  ];
  return (
    <header class="saved-bar">
      <strong>NN Health report</strong>
      <span class="saved-of">
        {saved.logdir && <code>{saved.logdir}</code>} {plural(all, "run")}, saved {written} UTC by nnhealth{" "}
        {saved.version}
      </span>
      <details>
        <summary>What it holds</summary>
        <div class="saved-note">
          <p>
            This page shows the log as it was then, and asks no server. Zooming stretches the columns and points that
            were saved; TensorBoard&apos;s NN Health tab reads finer ones from the log.
          </p>
          {left.map((sentence) => (
            <p key={sentence}>{sentence}</p>
          ))}
        </div>
      </details>
      <button type="button" class="button" onClick={() => document.body.classList.toggle(DARK)}>
        {theme.value === "dark" ? "Light" : "Dark"}
      </button>
    </header>
  );
}
