/** Paints the cells of the heatmap: one image row for each row of layers, stretched into place. */

import type { Palette } from "../lib/palette";
import { type Columns, farther, pixelColumns, typicalStep } from "./columns";
import type { Row } from "./fold";
import { type Context, denseHatch, hatch } from "./paint";
import { colourOf, type Ramp } from "./ramp";
import { makeScale, type Scale } from "./scale";

/** Spans of steps in which some value was not finite, by layer. */
export type NonFinite = ReadonlyMap<number, readonly (readonly [number, number])[]>;

export interface Cells {
  rows: readonly Row[];
  /** Distances from the healthy band, (rows, columns). */
  distances: Float32Array;
  columns: Columns;
  nonFinite: NonFinite;
}

export function spansByLayer(entries: readonly (readonly [number, number, number])[]): NonFinite {
  const spans = new Map<number, [number, number][]>();
  for (const [layer, first, last] of entries) {
    const list = spans.get(layer);
    if (list) list.push([first, last]);
    else spans.set(layer, [[first, last]]);
  }
  return spans;
}

export function isNonFinite(nonFinite: NonFinite, layers: readonly number[], from: number, to: number): boolean {
  return layers.some((layer) => nonFinite.get(layer)?.some(([first, last]) => first <= to && last >= from));
}

export function paintCells(
  context: Context,
  cells: Cells,
  x: Scale,
  ramp: Ramp,
  colours: Palette,
  width: number,
  ratio: number,
): void {
  if (cells.rows.length === 0 || cells.columns.from.length === 0) return;
  const image = rowsAsImage(cells, x, ramp, Math.round(width * ratio), ratio);
  context.imageSmoothingEnabled = false;
  cells.rows.forEach(({ y, height }, i) => {
    context.drawImage(image, 0, i, image.width, 1, 0, y, width, height);
  });
  paintNonFinite(context, cells, x, hatch(context, denseHatch(colours), ratio));
}

function rowsAsImage(cells: Cells, x: Scale, ramp: Ramp, width: number, ratio: number): HTMLCanvasElement {
  const { rows, distances, columns } = cells;
  const deviceScale = makeScale("linear", x.domain, [x.range[0] * ratio, x.range[1] * ratio]);
  const { first, last } = pixelColumns(columns, deviceScale, width);
  const count = columns.from.length;
  const image = document.createElement("canvas");
  image.width = width;
  image.height = rows.length;
  const brush = image.getContext("2d");
  if (!brush) return image;
  const data = brush.createImageData(width, rows.length);
  const pixels = new Uint32Array(data.data.buffer);
  for (let row = 0; row < rows.length; row++) {
    const start = row * count;
    let colour = 0;
    for (let p = 0; p < width; p++) {
      const [from, to] = [first[p] as number, last[p] as number];
      if (from < 0) continue;
      if (p === 0 || from !== first[p - 1] || to !== last[p - 1]) {
        let distance = distances[start + from] as number;
        for (let c = from + 1; c <= to; c++) distance = farther(distance, distances[start + c] as number);
        colour = Number.isNaN(distance) ? 0 : colourOf(ramp, distance);
      }
      pixels[row * width + p] = colour;
    }
  }
  brush.putImageData(data, 0, 0);
  return image;
}

/** A span of one step is still two pixels wide: it must not be lost. */
const LEAST_WIDTH = 2;

function paintNonFinite(context: Context, cells: Cells, x: Scale, fill: CanvasPattern | string): void {
  if (cells.nonFinite.size === 0) return;
  const typical = typicalStep(cells.columns);
  context.fillStyle = fill;
  for (const { layers, y, height } of cells.rows) {
    for (const layer of layers) {
      for (const [first, last] of cells.nonFinite.get(layer) ?? []) {
        const left = x.at(first);
        const right = x.at(last + typical);
        context.clearRect(left, y, Math.max(LEAST_WIDTH, right - left), height);
        context.fillRect(left, y, Math.max(LEAST_WIDTH, right - left), height);
      }
    }
  }
}
