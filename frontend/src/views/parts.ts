/** The views that are fetched when they are opened, or when the first page stands and there is nothing else to do. */

import { lazy } from "./Lazy";
import { PlainTune } from "./Snippet";

const later = () => import("./later");
const nothing = () => null;

export const Layer = lazy("the layer", () => later().then((views) => views.Layer));
export const Comparison = lazy("the comparison", () => later().then((views) => views.Compare));
export const Overview = lazy("all runs", () => later().then((views) => views.Overview));
export const Tune = lazy("the options", () => later().then((views) => views.Tune), PlainTune);
export const Ranks = lazy("the ranks", () => later().then((views) => views.Ranks), nothing);
export const LimitHandle = lazy("the limit", () => later().then((views) => views.LimitHandle), nothing);

/** Fetches them all, so that each opens at once. */
export async function preloadParts(): Promise<void> {
  for (const part of [Layer, Comparison, Overview, Tune, LimitHandle, Ranks]) await part.preload();
}
