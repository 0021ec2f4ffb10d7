/** Which page is shown, and the frame around it. */

import { useEffect } from "preact/hooks";
import { onKey } from "../lib/keyboard";
import { layer, outlook, run, runs, settled } from "../state/store";
import { Help } from "./Help";
import { Overview } from "./parts";
import { LayerPage, RunPage } from "./RunPage";
import { Runs } from "./Runs";
import { Empty, Fault, Loading, Outdated, retryRuns } from "./States";

export function App() {
  useEffect(() => {
    document.addEventListener("keydown", onKey);
    return () => document.removeEventListener("keydown", onKey);
  }, []);
  return (
    <>
      <Page />
      <Help />
    </>
  );
}

function Page() {
  const { data, error } = runs.value;
  if (!data) {
    return (
      <main class="page">
        {error ? (
          <Fault title="The runs could not be read" message={error} retry={retryRuns} />
        ) : (
          <Loading what="Looking for runs" />
        )}
      </main>
    );
  }
  if (outlook.value === "empty") return <Empty runs={data} />;
  const name = run.value;
  if (name === null && settled.value) return <Overview runs={data} />;
  if (name === null || outlook.value === "judging") {
    const judged = data.runs.length - data.pending;
    return (
      <div class="with-runs">
        <Runs />
        <main class="page">
          <Loading what={`Judging runs, ${judged} of ${data.runs.length} so far`} />
        </main>
      </div>
    );
  }
  if (layer.value !== null) return <LayerPage />;
  return (
    <div class="with-runs">
      <Runs />
      <main class="page" aria-label={name}>
        {error && <Outdated message={error} retry={retryRuns} />}
        <RunPage name={name} />
      </main>
    </div>
  );
}
