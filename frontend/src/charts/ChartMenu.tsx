/** A chart's menu: its picture as PNG, its numbers as CSV. */

import { useSignal } from "@preact/signals";
import type { RefObject } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { csv, download } from "../lib/export";
import { palette } from "../lib/palette";
import { theme } from "../state/store";

interface Props {
  /** Becomes the file's name. */
  name: string;
  canvas: RefObject<HTMLCanvasElement>;
  table: () => { header: string[]; rows: number[][] };
}

export function ChartMenu({ name, canvas, table }: Props) {
  const open = useSignal(false);
  const wrapper = useRef<HTMLDivElement>(null);
  useEffect(() => {
    if (!open.value) return;
    const away = (event: Event) => {
      if (!wrapper.current?.contains(event.target as Node)) open.value = false;
    };
    document.addEventListener("pointerdown", away);
    document.addEventListener("focusin", away);
    return () => {
      document.removeEventListener("pointerdown", away);
      document.removeEventListener("focusin", away);
    };
  }, [open.value]);
  const file = name.trim().replace(/[^\w.-]+/g, "_") || "chart";
  const pick = (action: () => void) => () => {
    open.value = false;
    action();
  };
  return (
    <div class="chart-menu" ref={wrapper}>
      <button
        type="button"
        aria-label="Export the chart"
        aria-expanded={open.value}
        onClick={() => {
          open.value = !open.value;
        }}
      >
        <svg width="16" height="16" viewBox="0 0 16 16" aria-hidden="true">
          <path d="M8 2.2a1.5 1.5 0 1 1 0 3 1.5 1.5 0 0 1 0-3zm0 4.3a1.5 1.5 0 1 1 0 3 1.5 1.5 0 0 1 0-3zm0 4.3a1.5 1.5 0 1 1 0 3 1.5 1.5 0 0 1 0-3z" />
        </svg>
      </button>
      {open.value && (
        <ul>
          <li>
            <button type="button" onClick={pick(() => canvas.current && savePicture(canvas.current, file))}>
              Save as PNG
            </button>
          </li>
          <li>
            <button
              type="button"
              onClick={pick(() => {
                const { header, rows } = table();
                download(`${file}.csv`, "text/csv", csv(header, rows));
              })}
            >
              Save as CSV
            </button>
          </li>
        </ul>
      )}
    </div>
  );
}

/** A canvas is transparent; a picture of its own needs the ground that it stood on. */
function savePicture(source: HTMLCanvasElement, file: string): void {
  const picture = document.createElement("canvas");
  picture.width = source.width;
  picture.height = source.height;
  const context = picture.getContext("2d");
  if (!context) return;
  context.fillStyle = palette(theme.value).surface;
  context.fillRect(0, 0, picture.width, picture.height);
  context.drawImage(source, 0, 0);
  picture.toBlob((blob) => {
    if (blob) download(`${file}.png`, "image/png", blob);
  });
}
