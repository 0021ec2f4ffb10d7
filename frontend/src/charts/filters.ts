/** Filters of a convolution as a grid of small pictures. */

import type { Palette } from "../lib/palette";

export interface FilterImage {
  shape: readonly [filters: number, planes: number, height: number, width: number];
  /** Base64 of bytes, (filters, planes, height, width). */
  pixels: string;
  /** Filters to be outlined. */
  noisy: readonly number[];
}

export const GAP = 2;
export const PER_ROW = 10;

export interface Grid {
  /** Edge of one filter on the page, in pixels: a whole number of pixels for each of its own. */
  cell: number;
  width: number;
  height: number;
}

export function gridOf([filters, , height, width]: FilterImage["shape"], room: number): Grid {
  const side = Math.max(height, width);
  const scale = Math.max(1, Math.floor((room / PER_ROW - GAP) / side));
  const cell = Math.max(8, scale * side);
  const rows = Math.ceil(filters / PER_ROW);
  return { cell, width: Math.min(filters, PER_ROW) * (cell + GAP), height: rows * (cell + GAP) };
}

/** RGBA of one filter; one plane is grey. */
export function rgba(image: FilterImage, bytes: Uint8Array, filter: number): Uint8ClampedArray<ArrayBuffer> {
  const [, planes, height, width] = image.shape;
  const area = height * width;
  const out = new Uint8ClampedArray(4 * area);
  for (let i = 0; i < area; i++) {
    for (let channel = 0; channel < 3; channel++) {
      out[4 * i + channel] = bytes[(filter * planes + (planes === 3 ? channel : 0)) * area + i] as number;
    }
    out[4 * i + 3] = 255;
  }
  return out;
}

export function paintFilters(
  context: CanvasRenderingContext2D,
  image: FilterImage,
  grid: Grid,
  colours: Palette,
): void {
  const [filters, , height, width] = image.shape;
  const bytes = Uint8Array.from(atob(image.pixels), (letter) => letter.charCodeAt(0));
  const stamp = document.createElement("canvas");
  stamp.width = width;
  stamp.height = height;
  const brush = stamp.getContext("2d");
  if (!brush) return;
  context.imageSmoothingEnabled = false;
  for (let i = 0; i < filters; i++) {
    const x = (i % PER_ROW) * (grid.cell + GAP) + GAP / 2;
    const y = Math.floor(i / PER_ROW) * (grid.cell + GAP) + GAP / 2;
    brush.putImageData(new ImageData(rgba(image, bytes, i), width, height), 0, 0);
    context.drawImage(stamp, x, y, grid.cell, grid.cell);
    if (!image.noisy.includes(i)) continue;
    context.strokeStyle = colours.warningIcon;
    context.lineWidth = 2;
    context.strokeRect(x, y, grid.cell, grid.cell);
  }
}
