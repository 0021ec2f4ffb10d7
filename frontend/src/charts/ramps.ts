/** The lookup tables of the themes' ramps, built once each. */

import { type Palette, palette } from "../lib/palette";
import type { Theme } from "../state/store";
import { buildLut, type Lut, type Ramp } from "./ramp";

const built = new Map<Theme, Ramp & { distribution: Lut }>();

export function rampsOf(theme: Theme): Ramp & { distribution: Lut } {
  let ramps = built.get(theme);
  if (!ramps) {
    const colours: Palette = palette(theme);
    ramps = {
      small: buildLut(colours.tooSmall),
      large: buildLut(colours.tooLarge),
      distribution: buildLut(colours.distribution),
    };
    built.set(theme, ramps);
  }
  return ramps;
}
