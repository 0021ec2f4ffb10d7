/** The colour scale in words and numbers: too small, healthy, too large, non-finite. */

import { useCanvas } from "../charts/canvas";
import { denseHatch, hatch } from "../charts/paint";
import { colourOf, cssColour, type Judge } from "../charts/ramp";
import { rampsOf } from "../charts/ramps";
import { ratioJudge } from "../charts/ratio";
import { makeScale, type Scale, type ScaleKind, tickLabels } from "../charts/scale";
import { palette } from "../lib/palette";
import { fetchedEvidence } from "../state/resources";
import { currentFinding, finding, run, theme } from "../state/store";
import { judge, shownStatistic } from "./LayersModel";

const WIDTH = 280;
const HEIGHT = 9;

const RATIOS = [1 / 32, 1 / 8, 1 / 2, 2, 8, 32];
const RATIO_LABELS = ["1/32", "1/8", "1/2", "2", "8", "32"];

/** The axis of the legend: from the end of one arm to the end of the other. */
function legendScale(judging: Judge): Scale {
  const [low, high] = judging.ends;
  const kind: ScaleKind = judging.scale === "relative" || judging.scale === "ratio" ? "log" : judging.scale;
  const unit = Math.max(Math.abs(judging.band[0]), Math.abs(judging.band[1])) || 1;
  if (kind === "share" && judging.band[1] === 0) return makeScale("log", [1e-6, 1], [0, WIDTH]);
  return makeScale(kind, [low ?? 0, high], [0, WIDTH], { linear: unit });
}

/** Where the chosen finding's limit stands on the scale, if it is one on this statistic. */
function limitAt(scale: Scale): number | null {
  if (
    run.value === null ||
    judge.value === ratioJudge ||
    currentFinding.value?.statistic_id !== shownStatistic.value?.id
  )
    return null;
  const limit = fetchedEvidence(run.value, finding.value).value.data?.limit ?? null;
  const at = limit === null ? -1 : scale.at(limit);
  return at >= 0 && at <= WIDTH ? at : null;
}

export function LayersLegend() {
  const judging = judge.value;
  if (!judging) return null;
  const scale = legendScale(judging);
  const [low, high] = judging.band.map((value) => Math.min(WIDTH, Math.max(0, scale.at(value)))) as [number, number];
  const isRatio = judging === ratioJudge;
  const ticks = isRatio ? RATIOS : scale.ticks(scale.kind === "symlog" ? 5 : 8);
  const labels = isRatio ? RATIO_LABELS : tickLabels(scale, ticks);
  const limit = limitAt(scale);
  const signed = judging.scale === "symlog";
  return (
    <div class="legend" role="img" aria-label={describeLegend(judging)}>
      <div class="legend-scale" style={{ width: WIDTH }}>
        <div class="legend-words">
          <span>{isRatio ? "smaller" : judging.ends[0] === null ? "" : signed ? "far below zero" : "too small"}</span>
          <span class="legend-healthy" style={{ left: Math.min(WIDTH - 30, Math.max(22, (low + high) / 2)) }}>
            {isRatio ? "alike" : "healthy"}
          </span>
          <span>{isRatio ? "larger" : signed ? "far above" : "too large"}</span>
        </div>
        <LegendBar judging={judging} scale={scale} />
        {judging.ends[0] !== null && <i class="legend-edge" style={{ left: low - 1 }} />}
        <i class="legend-edge" style={{ left: high - 1 }} />
        {limit !== null && <i class="legend-limit" style={{ left: limit - 1 }} title="limit of the chosen finding" />}
        <div class="legend-ticks">
          {ticks.map((tick, i) => (
            <span key={tick} style={{ left: scale.at(tick) }}>
              {labels[i]}
            </span>
          ))}
        </div>
      </div>
      <HatchSample />
    </div>
  );
}

function LegendBar({ judging, scale }: { judging: Judge; scale: Scale }) {
  const canvas = useCanvas((context, _, __, ratio) => {
    const ramp = rampsOf(theme.value);
    const pixel = 1 / ratio;
    for (let x = 0; x < WIDTH; x += pixel) {
      context.fillStyle = cssColour(colourOf(ramp, judging.distance(scale.invert(x + pixel / 2))));
      context.fillRect(x, 0, pixel, HEIGHT);
    }
    context.strokeStyle = palette(theme.value).borderStrong;
    context.lineWidth = 1;
    context.strokeRect(0.5, 0.5, WIDTH - 1, HEIGHT - 1);
  });
  return <canvas class="legend-bar" ref={canvas} style={{ width: WIDTH, height: HEIGHT }} />;
}

function HatchSample() {
  const canvas = useCanvas((context, width, height, ratio) => {
    const colours = palette(theme.value);
    context.fillStyle = hatch(context, denseHatch(colours), ratio);
    context.fillRect(0, 0, width, height);
    context.strokeStyle = colours.borderStrong;
    context.strokeRect(0.5, 0.5, width - 1, height - 1);
  });
  return (
    <div class="legend-hatch">
      <canvas ref={canvas} style={{ width: 22, height: HEIGHT }} />
      <span>non-finite</span>
    </div>
  );
}

function describeLegend(judging: Judge): string {
  const [low, high] = judging.band;
  return judging.ends[0] === null
    ? `Colours: neutral up to ${high}, then darker the larger; hatched where non-finite.`
    : `Colours: neutral from ${low} to ${high}, blue below, orange above; hatched where non-finite.`;
}
