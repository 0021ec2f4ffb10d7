/** A distribution over steps as an image: steps across, log magnitude up, colour by share of each step's fullest bin. */

import type { Distribution } from "../api/types";
import { makeColumns, pixelColumns } from "./columns";
import type { Context } from "./paint";
import { LUT_SIZE, type Lut } from "./ramp";
import { makeScale, type Scale } from "./scale";

export const BINS = 64;
/** Shares from a thousandth of the fullest bin are coloured. */
export const DECADES = 3;

/** The bins, as [first, last], outside of which no step has a visible share; null for an empty distribution. */
export function usedBins({ steps, shares }: Distribution): [number, number] | null {
  let [first, last] = [BINS, -1];
  for (let s = 0; s < steps.length; s++) {
    const fullest = fullestBin(shares, s);
    if (!(fullest > 0)) continue;
    for (let b = 0; b < BINS; b++) {
      if ((shares[s * BINS + b] as number) < fullest * 10 ** -DECADES) continue;
      first = Math.min(first, b);
      last = Math.max(last, b);
    }
  }
  return last < 0 ? null : [first, last];
}

function fullestBin(shares: Float32Array, step: number): number {
  let fullest = 0;
  for (let b = 0; b < BINS; b++) fullest = Math.max(fullest, shares[step * BINS + b] as number);
  return fullest;
}

/** Place of a share on the ramp, 0 to 1: logarithmic from 10^-DECADES of `fullest`. */
export function shareOnRamp(share: number, fullest: number): number {
  if (!(share > 0) || !(fullest > 0)) return 0;
  return Math.min(1, Math.max(0, 1 + Math.log10(share / fullest) / DECADES));
}

/** Vertical axis in magnitudes over the used bins, with a bin of air above. */
export function magnitudeScale(
  distribution: Distribution,
  bins: readonly [number, number],
  top: number,
  bottom: number,
): Scale {
  const low = 2 ** (distribution.exponent_low + bins[0]);
  const high = 2 ** (distribution.exponent_low + bins[1] + 2);
  return makeScale("log", [low, high], [bottom, top]);
}

interface Place {
  left: number;
  right: number;
  top: number;
  bottom: number;
}

export function paintDistribution(
  context: Context,
  place: Place,
  x: Scale,
  y: Scale,
  distribution: Distribution,
  lut: Lut,
  ratio: number,
): void {
  const width = Math.round((place.right - place.left) * ratio);
  const height = Math.round((place.bottom - place.top) * ratio);
  if (width <= 0 || height <= 0) return;
  const stepColumns = columnsOf(distribution.steps);
  const device = makeScale("linear", x.domain, [0, width]);
  const { first } = pixelColumns(stepColumns, device, width);
  const at = binsOfRows(distribution, y, place, height, ratio);
  const image = paintedImage(width, height, (pixels) => {
    const levels = new Float32Array(BINS);
    let painted = -1;
    for (let p = 0; p < width; p++) {
      const step = first[p] as number;
      if (step < 0) continue;
      if (step !== painted) fillLevels(levels, distribution.shares, step);
      painted = step;
      for (let row = 0; row < height; row++)
        pixels[row * width + p] = lut[levelIndex(levels, at[row] as number)] as number;
    }
  });
  context.imageSmoothingEnabled = false;
  if (image) context.drawImage(image, place.left, place.top, place.right - place.left, place.bottom - place.top);
}

/** The strip beneath: the share of elements that are exactly zero, of all elements. */
export function paintZeros(
  context: Context,
  place: Place,
  x: Scale,
  distribution: Distribution,
  lut: Lut,
  ratio: number,
): void {
  const width = Math.round((place.right - place.left) * ratio);
  if (width <= 0) return;
  const { first, last } = pixelColumns(columnsOf(distribution.steps), makeScale("linear", x.domain, [0, width]), width);
  const image = paintedImage(width, 1, (pixels) => {
    for (let p = 0; p < width; p++) {
      if ((first[p] as number) < 0) continue;
      let share = 0;
      for (let s = first[p] as number; s <= (last[p] as number); s++)
        share = Math.max(share, distribution.zero[s] || 0);
      pixels[p] = lut[Math.round(shareOnRamp(share, 1) * (LUT_SIZE - 1))] as number;
    }
  });
  context.imageSmoothingEnabled = false;
  if (image) context.drawImage(image, place.left, place.top, place.right - place.left, place.bottom - place.top);
}

/** Steps at which nothing finite was left to show, and those at which part was not finite. */
export function nonFiniteSteps(distribution: Distribution): { all: [number, number][]; some: [number, number][] } {
  const { from, to } = columnsOf(distribution.steps);
  const spans = (wanted: (share: number) => boolean): [number, number][] =>
    distribution.steps.flatMap((_, i) =>
      wanted(distribution.non_finite[i] || 0) ? [[from[i] as number, to[i] as number] satisfies [number, number]] : [],
    );
  return { all: spans((share) => share >= 1), some: spans((share) => share > 0 && share < 1) };
}

const columnsOf = (steps: readonly number[]) => makeColumns(steps.map((step) => [step, step]));

function paintedImage(width: number, height: number, paint: (pixels: Uint32Array) => void): HTMLCanvasElement | null {
  const image = document.createElement("canvas");
  image.width = width;
  image.height = height;
  const brush = image.getContext("2d");
  if (!brush) return null;
  const data = brush.createImageData(width, height);
  paint(new Uint32Array(data.data.buffer));
  brush.putImageData(data, 0, 0);
  return image;
}

/** For every pixel row its place among the bins' centres. */
function binsOfRows(distribution: Distribution, y: Scale, place: Place, height: number, ratio: number): Float64Array {
  return Float64Array.from({ length: height }, (_, row) => {
    const magnitude = y.invert(place.top + (row + 0.5) / ratio);
    return Math.log2(magnitude) - distribution.exponent_low - 0.5;
  });
}

function fillLevels(levels: Float32Array, shares: Float32Array, step: number): void {
  const fullest = fullestBin(shares, step);
  for (let b = 0; b < BINS; b++) levels[b] = shareOnRamp(shares[step * BINS + b] as number, fullest);
}

/** Between the centres of two bins the colour runs from one to the other. */
function levelIndex(levels: Float32Array, place: number): number {
  const left = Math.floor(place);
  const from = levels[left] ?? 0;
  const to = levels[left + 1] ?? 0;
  return Math.round((from + (to - from) * (place - left)) * (LUT_SIZE - 1));
}
