/** What stands on and beneath the image of a distribution: the readout at the cursor, and the colour bar. */

import { type ReadonlySignal, useComputed } from "@preact/signals";
import type { Distribution } from "../api/types";
import { useCanvas } from "../charts/canvas";
import { upperBound } from "../charts/columns";
import { DECADES } from "../charts/distribution";
import { formatStep } from "../charts/paint";
import { cssColour, LUT_SIZE } from "../charts/ramp";
import { rampsOf } from "../charts/ramps";
import type { Scale } from "../charts/scale";
import { number, percent } from "../lib/format";
import { palette } from "../lib/palette";
import { cursor, theme } from "../state/store";
import { LAYOUT } from "./LayerPaint";

interface Props {
  distribution: Distribution;
  x: Scale;
  hovered: ReadonlySignal<boolean>;
}

export function LayerReadout({ distribution, x, hovered }: Props) {
  const at = useComputed(() =>
    !hovered.value || cursor.value === null ? -1 : upperBound(distribution.steps, cursor.value) - 1,
  );
  const style = useComputed(() => {
    if (at.value < 0 || cursor.value === null) return "display: none";
    const place = x.at(cursor.value);
    const left = place > (x.range[0] + x.range[1]) / 2;
    return `top: ${LAYOUT.imageTop + 8}px; transform: translateX(${place + (left ? -10 : 10)}px) translateX(${left ? "-100%" : "0"})`;
  });
  const i = at.value;
  if (i < 0) return null;
  const zero = distribution.zero[i] ?? 0;
  const bad = distribution.non_finite[i] ?? 0;
  return (
    <div class="tooltip panel-readout" style={style}>
      <span>{`step ${formatStep(distribution.steps[i] as number)}`}</span>
      <dl>
        <Entry name="mean" value={distribution.mean[i]} />
        <Entry name="max" value={distribution.max[i]} />
        <Entry name="p95" value={distribution.p95[i]} />
        <Entry name="p5" value={distribution.p5[i]} />
      </dl>
      {zero > 0 && <span>{`${percent(zero)} exactly zero`}</span>}
      {bad > 0 && <span>{`${percent(bad)} not finite`}</span>}
    </div>
  );
}

function Entry({ name, value }: { name: string; value: number | undefined }) {
  return (
    <>
      <dt>{name}</dt>
      <dd>{number(value)}</dd>
    </>
  );
}

const WIDTH = 130;
const HEIGHT = 8;

export function LayerColourBar() {
  const canvas = useCanvas((context) => {
    const lut = rampsOf(theme.value).distribution;
    for (let x = 0; x < WIDTH; x++) {
      context.fillStyle = cssColour(lut[Math.round((x / (WIDTH - 1)) * (LUT_SIZE - 1))] as number);
      context.fillRect(x, 0, 1, HEIGHT);
    }
    context.strokeStyle = palette(theme.value).borderStrong;
    context.strokeRect(0.5, 0.5, WIDTH - 1, HEIGHT - 1);
  });
  const decades = Array.from({ length: DECADES + 1 }, (_, i) => i);
  return (
    <div class="colour-bar" aria-hidden="true">
      <canvas ref={canvas} style={{ width: WIDTH, height: HEIGHT }} />
      <span class="colour-bar-word">of the fullest bin, log</span>
      <div class="colour-bar-ticks" style={{ width: WIDTH }}>
        {decades.map((decade) => (
          <span key={decade} style={{ left: (decade / DECADES) * WIDTH }}>
            {`${Number(`1e${decade - DECADES + 2}`)} %`}
          </span>
        ))}
      </div>
    </div>
  );
}
