/** The heatmap in words, for screen readers: every row's worst value and where it was not finite. */

import { useEffect, useState } from "preact/hooks";
import type { HeatmapResponse } from "../api/types";
import { displayName } from "../charts/fold";
import { describe } from "../charts/ramp";
import { heatmap } from "../charts/stepRange";
import { number, steps } from "../lib/format";
import { judge, names, nonFinite, shownStatistic } from "./LayersModel";

/** A table of thousands of rows would slow every screen reader; the worst come first. */
const MOST_ROWS = 200;

/** It follows the picture when that has come to rest: laying it out takes longer than drawing the cells. */
const REST_MS = 300;

export function LayersTable() {
  const next = heatmap.value;
  const [data, setData] = useState<HeatmapResponse | null>(null);
  useEffect(() => {
    const timer = setTimeout(() => setData(next), REST_MS);
    return () => clearTimeout(timer);
  }, [next]);
  return data && data === next ? <Table data={data} /> : null;
}

function Table({ data }: { data: HeatmapResponse }) {
  const judging = judge.value;
  const statistic = shownStatistic.value;
  if (!judging || !statistic) return null;
  const distance = (layer: number): number => Math.abs(judging.distance(data.worst[layer]?.value ?? Number.NaN)) || 0;
  const order = names.value.map((_, layer) => layer);
  if (order.length > MOST_ROWS) order.sort((a, b) => distance(b) - distance(a));
  return (
    <div class="hidden apart">
      <table>
        <caption>{`${statistic.title} by layer`}</caption>
        <thead>
          <tr>
            <th scope="col">Layer</th>
            <th scope="col">Worst value</th>
            <th scope="col">At step</th>
            <th scope="col">Judgement</th>
            <th scope="col">Not finite at steps</th>
          </tr>
        </thead>
        <tbody>
          {order.slice(0, MOST_ROWS).map((layer) => {
            const worst = data.worst[layer];
            return (
              <tr key={layer}>
                <th scope="row">{displayName(names.value[layer] ?? "")}</th>
                <td>{worst ? number(worst.value) : "no record"}</td>
                <td>{worst ? worst.step : ""}</td>
                <td>{worst ? describe(judging, worst.value) : ""}</td>
                <td>{(nonFinite.value.get(layer) ?? []).map(([first, last]) => steps(first, last)).join(", ")}</td>
              </tr>
            );
          })}
        </tbody>
      </table>
    </div>
  );
}
