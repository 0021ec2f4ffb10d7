/** Asks for the pictures that are likely to be wanted next, while the page stands still. */

import { effect } from "@preact/signals";
import { heatmapParameters, heatmapStatus, standardScalars } from "../charts/stepRange";
import { fetchAhead } from "./resources";
import { model, run, saved, statistic, visible } from "./store";

/** The page must have stood still for so long. */
const REST_MS = 250;

/** The other statistics of the run in focus, over the steps on show: one after the other, until something else is wanted. */
export function lookAhead(): () => void {
  return effect(() => {
    const [name, known, shown] = [run.value, model.value.data, statistic.value];
    const settled = heatmapStatus.value === "ready" && standardScalars.value.status === "ready";
    if (saved.value || !visible.value || name === null || !known || !settled) return undefined;
    const parameters = { run: name, ...heatmapParameters() };
    let over = false;
    const timer = setTimeout(async () => {
      for (const { id } of known.statistics) {
        if (over) return;
        if (id !== shown) await fetchAhead("heatmap", { ...parameters, statistic: id });
      }
    }, REST_MS);
    return () => {
      over = true;
      clearTimeout(timer);
    };
  });
}
