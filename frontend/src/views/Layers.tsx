/** The layers × steps card: the statistic of every layer over the run, coloured by distance from its healthy band. */

import { formatStep } from "../charts/paint";
import { columns, heatmap, heatmapError, heatmapStatus, shown } from "../charts/stepRange";
import { chosenStatistic, model, otherRun, range, ratioShown, statistic } from "../state/store";
import { LayersHeatmap } from "./LayersHeatmap";
import { LayersLegend } from "./LayersLegend";
import { names } from "./LayersModel";
import { LayersTable } from "./LayersTable";

export function Layers() {
  const known = model.value.data;
  if (!known && model.value.status === "idle") return null;
  return (
    <section class="layers" aria-label="Layers × steps">
      <header class="layers-head">
        <h2>Layers × steps</h2>
        <StatisticSelect />
        <RatioSelect />
        <Subtitle />
        <LayersLegend />
      </header>
      <Body />
    </section>
  );
}

function StatisticSelect() {
  const statistics = model.value.data?.statistics ?? [];
  return (
    <select
      class="layers-select"
      aria-label="Statistic"
      value={statistic.value}
      onChange={(event) => {
        chosenStatistic.value = event.currentTarget.value;
      }}
    >
      {statistics.map(({ id, title }) => (
        <option key={id} value={id}>
          {title}
        </option>
      ))}
    </select>
  );
}

/** Where two runs are compared: their ratio, or the one in focus alone. */
function RatioSelect() {
  if (otherRun.value === null) return null;
  return (
    <select
      class="layers-select"
      aria-label="Runs shown"
      value={ratioShown.value ? "ratio" : "own"}
      onChange={(event) => {
        ratioShown.value = event.currentTarget.value === "ratio";
      }}
    >
      <option value="ratio">log2 ratio to {otherRun.value}</option>
      <option value="own">this run alone</option>
    </select>
  );
}

function Subtitle() {
  const count = names.value.length;
  const steps = shown.value;
  if (!count || !steps) return <p class="layers-subtitle" />;
  const text = [
    layersWords(count, heatmap.value?.layers_left_out ?? 0),
    `steps ${formatStep(steps[0])}–${formatStep(lastStep())}, ${perColumn()}`,
    range.value ? "double-click shows all" : "drag to zoom",
  ];
  return <p class="layers-subtitle">{text.join(" · ")}</p>;
}

function layersWords(count: number, leftOut: number): string {
  if (count === 1) return "1 layer";
  const shownCount = count.toLocaleString("en-US");
  if (leftOut > 0) return `the first ${shownCount} of ${(count + leftOut).toLocaleString("en-US")} layers`;
  return `${shownCount} layers, forward order`;
}

function lastStep(): number {
  const steps = heatmap.value?.steps;
  return range.value?.[1] ?? steps?.[steps.length - 1]?.[1] ?? 0;
}

function perColumn(): string {
  const { from } = columns.value;
  const records = heatmap.value?.records ?? 0;
  const each = Math.round(records / Math.max(1, from.length));
  return each <= 1 ? "one record a column" : `${each.toLocaleString("en-US")} records a column, worst shown`;
}

function Body() {
  const [data, error] = [heatmap.value, heatmapError.value];
  if (model.value.error && !model.value.data) return <p class="chart-note">{model.value.error}</p>;
  if (!data && error) return <p class="chart-note">{error}</p>;
  if (data && data.layers.length === 0) return <p class="chart-note">No layer has this statistic in this run.</p>;
  return (
    <>
      <LayersHeatmap busy={heatmapStatus.value === "loading"} />
      <LayersTable />
    </>
  );
}
