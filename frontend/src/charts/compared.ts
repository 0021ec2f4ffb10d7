/** Runs compared in one chart: each has a colour, the same in every chart. */

import type { Palette } from "../lib/palette";

export const COMPARED_COLOURS: readonly ((colours: Palette) => string)[] = [
  (colours) => colours.accent,
  (colours) => colours.link,
  (colours) => colours.healthyFill,
  (colours) => colours.warningBar,
];

/** Another run's series over the one in focus. */
export interface Overlay {
  run: string;
  colour: (colours: Palette) => string;
  steps: readonly number[];
  values: Float32Array;
}
