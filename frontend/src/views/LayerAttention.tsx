/** The attention heads of a layer over the steps: largest logit and entropy, with the numbers of the cell pointed at. */

import { useComputed, useSignal } from "@preact/signals";
import type { AttentionHeads } from "../api/types";
import { ChartMenu } from "../charts/ChartMenu";
import { useCanvas } from "../charts/canvas";
import { makeColumns, nearestColumn } from "../charts/columns";
import { displayName } from "../charts/fold";
import { cellsOf, judgeOf, rowHeight, STRIP_TOP, type Strip, valueAt, worstHead } from "../charts/heads";
import { paintCells } from "../charts/heatmap";
import { AXIS_FONT, type Context, drawStepAxis, formatStep } from "../charts/paint";
import { colourOf, cssColour, describe } from "../charts/ramp";
import { rampsOf } from "../charts/ramps";
import { StepSurface } from "../charts/StepSurface";
import { makeScale } from "../charts/scale";
import { shown } from "../charts/stepRange";
import { useWidth } from "../charts/useWidth";
import { number, step, steps } from "../lib/format";
import { palette } from "../lib/palette";
import { cursor, theme } from "../state/store";
import { LAYOUT } from "./LayerPaint";

const NOTES: Record<string, string> = {
  "attention-logit": "scaled product of a query and a key; beyond 100 softmax is a maximum",
  "attention-entropy": "of the weights, over the logarithm of the keys; 0: one key, 1: all alike",
};

export function LayerAttention({ attention }: { attention: AttentionHeads }) {
  const { heads, heads_left_out: left } = attention;
  return (
    <section class="card layer-attention" aria-label="Attention heads">
      <header>
        <h2>Attention heads</h2>
        <code>{displayName(attention.layer)}</code>
        <span class="secondary">
          {left > 0 ? `first ${heads.length} of ${heads.length + left}` : heads.length} heads, of some samples and
          queries
        </span>
      </header>
      <div class="head-strips">
        {attention.strips.map((strip) => (
          <HeadStrip key={strip.statistic} attention={attention} strip={strip} />
        ))}
      </div>
    </section>
  );
}

function HeadStrip({ attention, strip }: { attention: AttentionHeads; strip: Strip }) {
  const [plot, width] = useWidth<HTMLDivElement>();
  const row = useSignal(-1);
  const hovered = useSignal(false);
  const each = rowHeight(attention.heads.length);
  const bottom = STRIP_TOP + attention.heads.length * each;
  const height = bottom + LAYOUT.axis;
  const first = attention.steps[0]?.[0] ?? 0;
  const last = attention.steps[attention.steps.length - 1]?.[1] ?? first;
  const range = shown.value ?? ([first, Math.max(first + 1, last)] as const);
  const x = makeScale("linear", range, [LAYOUT.left, Math.max(LAYOUT.left + 1, width.value - LAYOUT.right)]);
  const cells = cellsOf(attention, strip);
  const columns = makeColumns(attention.steps);
  const canvas = useCanvas((context, wide, _, ratio) => {
    const scale = makeScale("linear", range, [LAYOUT.left, wide - LAYOUT.right]);
    const colours = palette(theme.value);
    const box = { left: LAYOUT.left, right: wide - LAYOUT.right, top: STRIP_TOP, bottom };
    context.save();
    context.beginPath();
    context.rect(box.left, 0, box.right - box.left, bottom);
    context.clip();
    paintCells(context, cells, scale, rampsOf(theme.value), colours, wide, ratio);
    context.restore();
    nameHeads(context, attention.heads, each, colours.secondary);
    drawStepAxis(context, box, scale, colours);
  });
  const cursorStyle = useComputed(() => {
    const at = cursor.value === null ? Number.NaN : x.at(cursor.value);
    return at >= x.range[0] && at <= x.range[1]
      ? `transform: translateX(${at}px); height: ${bottom}px`
      : "display: none";
  });
  const column = cursor.value === null ? -1 : nearestColumn(columns, cursor.value);
  const worst = worstHead(attention, strip, column < 0 ? null : column);
  return (
    <figure>
      <figcaption>
        <h3>{strip.title}</h3>
        <b class="panel-value">
          {worst ? number(worst.value) : ""}
          <span class="secondary">
            {worst && ` head ${attention.heads[worst.head]}, step ${step(attention.steps[worst.column]?.[0] ?? 0)}`}
          </span>
        </b>
        <ChartMenu
          name={`${attention.layer} ${strip.statistic}`}
          canvas={canvas}
          table={() => table(attention, strip)}
        />
      </figcaption>
      <p class="panel-subtitle">
        <span>{NOTES[strip.statistic]}</span>
        <span>{worst && describe(judgeOf(strip), worst.value)}</span>
      </p>
      <div
        class="head-plot"
        ref={plot}
        style={{ height }}
        onPointerMove={(event) => {
          const box = event.currentTarget.getBoundingClientRect();
          row.value = Math.floor((event.clientY - box.top - STRIP_TOP) / each);
        }}
      >
        <canvas ref={canvas} class="fill" role="img" aria-label={summary(attention, strip)} />
        <i class="cursor-line" style={cursorStyle} />
        <StepSurface
          label={`${strip.title} of the heads`}
          scale={x}
          onHover={(over) => {
            hovered.value = over;
          }}
        />
        {hovered.value && column >= 0 && attention.heads[row.value] !== undefined && (
          <Reading attention={attention} strip={strip} head={row.value} column={column} at={x.at(cursor.value ?? 0)} />
        )}
      </div>
      <Table attention={attention} strip={strip} />
    </figure>
  );
}

/** Numbers of heads in the left gutter, as many as have room. */
function nameHeads(context: Context, heads: readonly number[], each: number, ink: string): void {
  const every = Math.ceil(12 / each);
  context.font = AXIS_FONT;
  context.fillStyle = ink;
  context.textAlign = "right";
  context.textBaseline = "middle";
  heads.forEach((head, i) => {
    if (i % every === 0) context.fillText(`${head}`, LAYOUT.left - 8, STRIP_TOP + i * each + each / 2);
  });
}

interface ReadingProps {
  attention: AttentionHeads;
  strip: Strip;
  head: number;
  column: number;
  at: number;
}

function Reading({ attention, strip, head, column, at }: ReadingProps) {
  const value = valueAt(attention, strip, head, column);
  const judge = judgeOf(strip);
  const distance = judge.distance(value);
  const [first, last] = attention.steps[column] ?? [0, 0];
  const left = at > 260;
  const top = STRIP_TOP + (head + 1) * rowHeight(attention.heads.length) + 4;
  return (
    <div
      class="tooltip"
      style={`transform: translate(${at + (left ? -10 : 10)}px, ${top}px) translateX(${left ? "-100%" : "0"})`}
    >
      <div class="tooltip-head">
        <span>head {attention.heads[head]}</span>
        <span>{first === last ? `step ${formatStep(first)}` : `worst of steps ${steps(first, last)}`}</span>
      </div>
      <div class="tooltip-value">
        <i
          style={{
            background: Number.isNaN(distance) ? "transparent" : cssColour(colourOf(rampsOf(theme.value), distance)),
          }}
        />
        <b>{Number.isNaN(value) ? "" : number(value)}</b>
        <span>{describe(judge, value)}</span>
      </div>
    </div>
  );
}

function summary(attention: AttentionHeads, strip: Strip): string {
  const worst = worstHead(attention, strip);
  if (!worst) return `${strip.title}: no record`;
  const at = attention.steps[worst.column]?.[0] ?? 0;
  return `${strip.title} of ${attention.heads.length} heads; the worst is ${number(worst.value)} in head ${attention.heads[worst.head]} at step ${at}`;
}

function Table({ attention, strip }: { attention: AttentionHeads; strip: Strip }) {
  const judge = judgeOf(strip);
  const ends = attention.steps.length - 1;
  return (
    <div class="hidden">
      <table>
        <caption>{`${strip.title} by head`}</caption>
        <thead>
          <tr>
            <th scope="col">Head</th>
            <th scope="col">First</th>
            <th scope="col">Last</th>
            <th scope="col">Judgement of the last</th>
          </tr>
        </thead>
        <tbody>
          {attention.heads.map((head, i) => (
            <tr key={head}>
              <th scope="row">{head}</th>
              <td>{number(valueAt(attention, strip, i, 0))}</td>
              <td>{number(valueAt(attention, strip, i, ends))}</td>
              <td>{describe(judge, valueAt(attention, strip, i, ends))}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function table(attention: AttentionHeads, strip: Strip): { header: string[]; rows: number[][] } {
  return {
    header: ["first_step", "last_step", ...attention.heads.map((head) => `head ${head}`)],
    rows: attention.steps.map(([first, last], column) => [
      first,
      last,
      ...attention.heads.map((_, head) => valueAt(attention, strip, head, column)),
    ]),
  };
}
