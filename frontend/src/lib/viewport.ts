/** Whether the window is low: cards are then compact, so that verdict, findings and the heatmap's head all show. */

import { signal } from "@preact/signals";

/** Of the tab's frame, above which TensorBoard's own bar takes 64 pixels. The sheets ask the same. */
const query = matchMedia("(max-height: 900px)");

export const low = signal(query.matches);
query.addEventListener("change", () => {
  low.value = query.matches;
});
