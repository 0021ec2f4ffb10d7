/** The first convolution's filters as pictures over the steps: structure appears, or does not. */

import type { FilterPictures } from "../api/types";
import { useCanvas } from "../charts/canvas";
import { gridOf, PER_ROW, paintFilters } from "../charts/filters";
import { useWidth } from "../charts/useWidth";
import { number, step } from "../lib/format";
import { palette } from "../lib/palette";
import { theme } from "../state/store";

type Picture = FilterPictures["pictures"][number];

const ROOM = 250;

export function LayerFilters({ filters }: { filters: FilterPictures }) {
  const [frame, width] = useWidth<HTMLDivElement>();
  const newest = filters.pictures[filters.pictures.length - 1];
  if (!newest) return null;
  const [shown, , height, wide] = newest.shape;
  const fits = Math.max(1, Math.floor(width.value / ROOM));
  // The first and the newest stay where not all have room.
  const pictures = filters.pictures.filter((_, i, all) => i === 0 || all.length - i < fits);
  const noisy = newest.noisy.length;
  return (
    <section class="card layer-filters" aria-label="Filters over time">
      <header>
        <h2>First convolution: filters over time</h2>
        <code>
          {filters.parameter}, {shown < filters.total ? `first ${shown} of ${filters.total}` : `${shown}`} filters,{" "}
          {height} × {wide}
        </code>
        <span class="spacer" />
        <span class="secondary">
          each filter scaled to its own range
          {noisy > 0 && `; outlined: ${noisy} still noise among others with structure`}
        </span>
      </header>
      <div class="filter-row" ref={frame}>
        {pictures.map((picture) => (
          <One key={picture.step} picture={picture} />
        ))}
      </div>
    </section>
  );
}

function One({ picture }: { picture: Picture }) {
  const grid = gridOf(picture.shape, ROOM - 14);
  const canvas = useCanvas((context) => paintFilters(context, picture, grid, palette(theme.value)));
  const smooth = picture.smoothness === null ? "" : `smoothness ${number(picture.smoothness)}`;
  return (
    <figure>
      <figcaption>
        <strong>step {step(picture.step)}</strong>
        <span class="secondary">{smooth}</span>
      </figcaption>
      <canvas
        ref={canvas}
        style={{ width: grid.width, height: grid.height }}
        role="img"
        aria-label={`${picture.shape[0]} filters at step ${picture.step}, ${PER_ROW} in a row${smooth && `, ${smooth}`}${
          picture.noisy.length ? `; ${picture.noisy.length} of them noise` : ""
        }`}
      />
    </figure>
  );
}
