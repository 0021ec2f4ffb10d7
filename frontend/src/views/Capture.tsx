/** The footer: how the run was captured, and at what cost. */

import type { Capture as Captured } from "../api/types";
import { percent, plural, step } from "../lib/format";
import { helpOpen } from "../state/store";

/** Share of the training's time above which the overhead is explained. */
const MUCH = 0.5;

export function Capture({ capture }: { capture: Captured | null }) {
  return (
    <footer class="capture">
      {capture ? <Facts capture={capture} /> : <span>No health records: judged by its scalars alone</span>}
      <span class="spacer" />
      <button type="button" class="keys-button" onClick={() => (helpOpen.value = true)}>
        <kbd>?</kbd> shortcuts
      </button>
    </footer>
  );
}

function Facts({ capture }: { capture: Captured }) {
  const { every, overhead, budget, errors } = capture;
  return (
    <>
      {every !== null && (
        <span title={capture.reason ?? ""}>
          Captured <strong>{every === 1 ? "every step" : `every ${plural(every, "step")}`}</strong>
          {budget ? ` (budget ${percent(budget)})` : " (as asked)"}
        </span>
      )}
      {overhead !== null && (
        <span>
          Measured overhead <strong>{percent(overhead)}</strong> of the training's own time
          {overhead > MUCH && (budget ? ": so short a run may cost up to a second" : ": its steps are very short")}
        </span>
      )}
      <span>
        <strong>{step(capture.written)}</strong> records written, <strong>{step(capture.dropped)}</strong> dropped
      </span>
      <span>Format {capture.format}</span>
      {errors.length === 0 ? (
        <span>No capture errors</span>
      ) : (
        <details>
          <summary>{plural(errors.length, "capture error")}</summary>
          <ul>
            {errors.map((error) => (
              <li key={error}>{error}</li>
            ))}
          </ul>
        </details>
      )}
    </>
  );
}
