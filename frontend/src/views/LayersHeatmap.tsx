/** Canvas, gutters, marks and cursor of the heatmap, and what pointer and keys do on it. */

import { batch, type Signal, useComputed, useSignal } from "@preact/signals";
import { useRef } from "preact/hooks";
import { CursorLine } from "../charts/CursorLine";
import { useCanvas } from "../charts/canvas";
import { columnAt, nearestColumn } from "../charts/columns";
import { type Row, totalHeight } from "../charts/fold";
import { paintCells } from "../charts/heatmap";
import { rampsOf } from "../charts/ramps";
import { StepAxis } from "../charts/StepAxis";
import { DRAG } from "../charts/StepSurface";
import { sight, useSight } from "../charts/sight";
import { columns, cursorAt, plotWidth, stepAt, stepScale, zoomBetween } from "../charts/stepRange";
import { useWidth } from "../charts/useWidth";
import { palette } from "../lib/palette";
import { cursor, layer, range, theme } from "../state/store";
import { LayersNames, LayersWorst } from "./LayersGutters";
import { LayersOnsets, LayersOutline, OnsetLines } from "./LayersMarks";
import { blocks, cells, names, rows, shownStatistic, toggle, worstLayer } from "./LayersModel";
import { type Hover, LayersTooltip } from "./LayersTooltip";

export function LayersHeatmap({ busy }: { busy: boolean }) {
  const hover = useSignal<Hover | null>(null);
  const [plot] = useWidth<HTMLDivElement>(plotWidth);
  const height = totalHeight(blocks.value);
  useSight(plot, height);
  return (
    <div class="heatmap" aria-busy={busy}>
      <LayersOnsets />
      <div class="heatmap-body" style={{ height }}>
        <LayersNames />
        <div class="heatmap-plot" ref={plot}>
          <CellCanvas />
          <OnsetLines />
          <LayersOutline />
          <Interaction hover={hover} />
          <CursorLine />
          <CursorDot hover={hover} />
          <LayersTooltip hover={hover} />
        </div>
        <LayersWorst />
      </div>
      <StepAxis />
    </div>
  );
}

function CellCanvas() {
  const canvas = useCanvas((context, width, _, ratio) => {
    const [shownCells, x] = [cells.value, stepScale.value];
    if (shownCells && x) {
      context.translate(0, -sight.value[0]);
      paintCells(context, shownCells, x, rampsOf(theme.value), palette(theme.value), width, ratio);
    }
  });
  const [top, bottom] = sight.value;
  return <canvas ref={canvas} class="fill" style={{ top, height: bottom - top }} />;
}

/** Marks the cell under the cursor on the cursor's line. */
function CursorDot({ hover }: { hover: Signal<Hover | null> }) {
  const style = useComputed(() => {
    const row = rows.value[hover.value?.row ?? -1];
    if (!row || cursorAt.value === null) return "display: none";
    return `transform: translate(${cursorAt.value}px, ${row.y + row.height / 2}px)`;
  });
  return <i class="cursor-dot" style={style} />;
}

/** While zoomed, a click waits this long for the second one of a double-click. */
const DOUBLE_CLICK = 260;

function Interaction({ hover }: { hover: Signal<Hover | null> }) {
  const drag = useSignal<{ from: number; to: number } | null>(null);
  const pendingClick = useRef(0);
  const brush = useComputed(() => {
    if (!drag.value) return "display: none";
    const { from, to } = drag.value;
    return `left: ${Math.min(from, to)}px; width: ${Math.abs(to - from)}px`;
  });

  const place = (event: PointerEvent | MouseEvent): { x: number; y: number } => {
    const box = (event.currentTarget as HTMLElement).getBoundingClientRect();
    return { x: Math.min(box.width, Math.max(0, event.clientX - box.left)), y: event.clientY - box.top };
  };
  const point = (event: PointerEvent) => {
    const { x, y } = place(event);
    if (drag.value) drag.value = { ...drag.value, to: x };
    batch(() => {
      cursor.value = snap(stepAt(x));
      hover.value = { row: rowAt(y), x, y };
    });
  };
  const release = (event: PointerEvent) => {
    const dragged = drag.value;
    drag.value = null;
    if (!dragged) return;
    const { x } = place(event); // the last move may not have been told
    if (Math.abs(x - dragged.from) > DRAG) {
      if (stepScale.value) zoomBetween(stepScale.value, dragged.from, x);
      hover.value = null; // the cell that was under the pointer has moved
      return;
    }
    const row = rows.value[rowAt(place(event).y)];
    if (!row) return;
    window.clearTimeout(pendingClick.current);
    pendingClick.current = window.setTimeout(() => open(row), range.value ? DOUBLE_CLICK : 0);
  };
  const reset = () => {
    window.clearTimeout(pendingClick.current);
    range.value = null;
  };
  const key = (event: KeyboardEvent) => {
    if (event.ctrlKey || event.metaKey || event.altKey || !act(event, hover)) return;
    event.preventDefault();
    event.stopPropagation();
  };

  return (
    <div
      class="heatmap-cells"
      role="application"
      // biome-ignore lint/a11y/noNoninteractiveTabindex: arrow keys move the cursor here
      tabIndex={0}
      aria-label={`Heatmap of ${shownStatistic.value?.title ?? "a statistic"}. Arrow keys move the cursor, Enter opens the layer, plus and minus unfold and fold, Escape shows all steps. A table follows.`}
      onPointerDown={(event) => {
        if (event.button !== 0) return;
        event.currentTarget.setPointerCapture(event.pointerId);
        const { x } = place(event);
        drag.value = { from: x, to: x };
      }}
      onPointerMove={point}
      onPointerUp={release}
      onPointerCancel={() => {
        drag.value = null;
      }}
      onPointerLeave={() => {
        hover.value = null;
      }}
      onBlur={() => {
        hover.value = null;
      }}
      onDblClick={reset}
      onKeyDown={key}
    >
      <i class="brush" style={brush} />
    </div>
  );
}

/** The first step of the column under the cursor, where it stands for one record; else the step itself. */
function snap(step: number | null): number | null {
  if (step === null) return null;
  const column = columnAt(columns.value, step);
  const steps = columns.value;
  const wide = column >= 0 && (steps.to[column] as number) - (steps.from[column] as number) > 1;
  return column >= 0 && !wide ? (steps.from[column] as number) : step;
}

function rowAt(y: number): number {
  return rows.value.findIndex((row) => y >= row.y && y < row.y + row.height);
}

/** A layer's page; a fold unfolds first. */
function open(row: Row): void {
  const block = blocks.value.find((item) => item.rows.includes(row));
  if (row.kind === "folded" && block) toggle(block, true);
  else layer.value = names.value[worstLayer(row)] ?? null;
}

/** What a key does; false where it means nothing here. */
function act(event: KeyboardEvent, hover: Signal<Hover | null>): boolean {
  const row = hover.value?.row ?? -1;
  const count = columns.value.from.length;
  const column = nearestColumn(columns.value, cursor.value ?? columns.value.from[0] ?? 0);
  const stride = event.shiftKey ? 10 : 1;
  const move = (rowStep: number, columnStep: number): boolean => {
    const toRow = Math.min(rows.value.length - 1, Math.max(0, row < 0 ? 0 : row + rowStep));
    const toColumn = Math.min(count - 1, Math.max(0, column + columnStep));
    const step = columns.value.from[toColumn];
    const target = rows.value[toRow];
    if (step === undefined || !target) return false;
    batch(() => {
      cursor.value = step;
      hover.value = { row: toRow, x: stepScale.value?.at(step) ?? 0, y: target.y + target.height / 2 };
    });
    return true;
  };
  const block = blocks.value.find((item) => item.rows.includes(rows.value[row] as Row));
  switch (event.key) {
    case "ArrowLeft":
      return move(0, -stride);
    case "ArrowRight":
      return move(0, stride);
    case "ArrowUp":
      return move(-stride, 0);
    case "ArrowDown":
      return move(stride, 0);
    case "Home":
      return move(0, -count);
    case "End":
      return move(0, count);
    case "Enter":
      if (row >= 0) open(rows.value[row] as Row);
      return row >= 0;
    case "+":
    case "-":
      if (block) toggle(block, event.key === "+");
      return block !== undefined;
    case "Escape":
      if (!range.value && !hover.value) return false;
      hover.value = null;
      range.value = null;
      return true;
    default:
      return false;
  }
}
