/** One run: is it ill, where, since when, why, what to try. */

import { signal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { refetch } from "../state/resources";
import { comparing, layer, model, report, run, runReport } from "../state/store";
import { Capture } from "./Capture";
import { Checks } from "./Checks";
import { Findings } from "./Findings";
import { Layers } from "./Layers";
import { Comparison, Layer, Ranks } from "./parts";
import { Scalars } from "./Scalars";
import { Fault, Loading, Outdated, Problems, ThreeLines } from "./States";
import { Verdict } from "./Verdict";

/** Whether a verdict has been painted: the first comes alone, before findings, charts and tables, which take longer to lay out. */
const stands = signal(false);

/** In place of what comes behind the first verdict; effects run after the frame in which it was painted. */
function Rest() {
  useEffect(() => {
    stands.value = true;
  }, []);
  return <div aria-busy="true" />;
}

export function RunPage({ name }: { name: string }) {
  const { error, data } = report.value;
  const loaded = runReport.value;
  const retry = () => refetch("report", { run: name });
  if (!loaded) {
    if (error) return <Fault title={`${name} could not be judged`} message={error} retry={retry} />;
    return <Loading what={`Reading and judging ${name}`} />;
  }
  const healthy = loaded.verdict === "healthy";
  const { preflight, verdict } = loaded;
  const open = healthy || (verdict === "no-data" && !!preflight);
  const stood = stands.value;
  const checks = <Checks key={name} checks={loaded.checks} preflight={preflight} open={open} />;
  return (
    <>
      {error && <Outdated message={error} retry={retry} />}
      <Verdict report={loaded} />
      <Problems problems={data?.problems ?? []} />
      {stood ? (
        <>
          <Findings />
          {comparing.value && <Comparison />}
          {healthy && checks}
          {loaded.has_records ? <Layers /> : loaded.steps !== null && <Unwatched />}
          <Scalars />
          {model.value.data?.ranks && <Ranks />}
          {!healthy && checks}
          <Capture capture={loaded.capture} />
        </>
      ) : (
        <Rest />
      )}
    </>
  );
}

function Unwatched() {
  return (
    <section class="card unwatched" aria-label="No health records">
      <h2>No health records in this run</h2>
      <p>Only its scalars could be judged. With these lines the next run shows its layers too.</p>
      <ThreeLines />
    </section>
  );
}

export function LayerPage() {
  return (
    <main class="layer-page" aria-label={`Layer ${layer.value} of ${run.value}`}>
      <Layer />
    </main>
  );
}
