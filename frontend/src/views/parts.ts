/** The views that are fetched when they are opened, or when the first page stands and there is nothing else to do. */

import { lazy } from "./Lazy";

const later = () => import("./later");

export const Layer = lazy("the layer", () => later().then((views) => views.Layer));
export const Comparison = lazy("the comparison", () => later().then((views) => views.Compare));
export const Overview = lazy("all runs", () => later().then((views) => views.Overview));

/** Fetches them all, so that each opens at once. */
export async function preloadParts(): Promise<void> {
  for (const part of [Layer, Comparison, Overview]) await part.preload();
}
