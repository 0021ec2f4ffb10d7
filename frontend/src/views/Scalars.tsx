/** Standard and picked scalars on the step axis of the heatmap, with one cursor through all. */

import type { ScalarChart } from "../api/types";
import { CursorLine } from "../charts/CursorLine";
import { nonFiniteSpans } from "../charts/paint";
import { StepAxis } from "../charts/StepAxis";
import { StepSurface } from "../charts/StepSurface";
import { pickedScalars, plotWidth, standardScalars, stepScale } from "../charts/stepRange";
import { useWidth } from "../charts/useWidth";
import { model, runReport, tags } from "../state/store";
import { LayersOnsets, OnsetLines } from "./LayersMarks";
import { ScalarsChart } from "./ScalarsChart";
import { ScalarsPicker } from "./ScalarsPicker";

export function Scalars() {
  const [plot] = useWidth<HTMLDivElement>(plotWidth);
  if (!runReport.value) return null;
  const standard = standardScalars.value.data?.charts ?? [];
  const picked = tags.value.length > 0 ? (pickedScalars.value.data?.charts ?? []) : [];
  const error = standardScalars.value.error ?? pickedScalars.value.error;
  const stretches = lossGaps(standard);
  // Without a heatmap above, the charts carry the findings' badges themselves.
  const alone = !model.value.data?.layers.length;
  return (
    <section class="scalars" aria-label="Scalars">
      {alone && <LayersOnsets headings={false} />}
      <div class="scalars-body">
        <div class="scalars-plot" ref={plot}>
          <OnsetLines />
          <StepSurface label="Scalar charts, values stand beside each" scale={stepScale.value} />
        </div>
        {standard.map((chart) => (
          <ScalarsChart key={chart.id} chart={chart} stretches={stretches} />
        ))}
        {picked
          .filter((chart) => tags.value.includes(chart.title))
          .map((chart) => (
            <ScalarsChart
              key={`picked ${chart.id}`}
              chart={chart}
              stretches={stretches}
              onRemove={() => {
                tags.value = tags.value.filter((tag) => tag !== chart.title);
              }}
            />
          ))}
        {error && <p class="chart-note">{error}</p>}
        {!error && standard.length === 0 && standardScalars.value.status === "ready" && (
          <p class="chart-note">
            No loss, accuracy or learning rate was logged in this run. Other scalars can be added below.
          </p>
        )}
        <div class="scalars-cursor" aria-hidden="true">
          <CursorLine />
        </div>
      </div>
      <div class="scalars-foot">
        <span class="step-word">step</span>
        <StepAxis pill />
        <ScalarsPicker />
      </div>
    </section>
  );
}

/** Where the loss is not finite; hatched in every chart, since what stands beside it means little. */
function lossGaps(charts: readonly ScalarChart[]): [number, number][] {
  const end = stepScale.value?.domain[1] ?? 0;
  const train = charts.find((chart) => chart.id === "loss")?.series[0];
  return train ? nonFiniteSpans(train.steps, train.values, end) : [];
}
