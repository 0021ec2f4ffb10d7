/** The page of one layer: what it is, its series with their healthy bands, its distributions over steps. */

import type { LayerResponse } from "../api/types";
import { COMPARED_COLOURS, type Overlay } from "../charts/compared";
import { displayName } from "../charts/fold";
import { formatStep } from "../charts/paint";
import { COMPARED } from "../charts/stepRange";
import { SEVERITY_WORDS } from "../lib/findings";
import { palette } from "../lib/palette";
import { moveLayer } from "../state/actions";
import { fetched } from "../state/resources";
import { findings, layer, model, others, run, theme } from "../state/store";
import { SeverityIcon } from "./Icons";
import { LayerAttention } from "./LayerAttention";
import { LayerFacts } from "./LayerFacts";
import { LayerFilters } from "./LayerFilters";
import { LayerPanel } from "./LayerPanel";

const POINTS = 500;

export function Layer() {
  const name = layer.value;
  if (run.value === null || name === null) return null;
  const { data, error } = fetched("layer", { run: run.value, layer: name, points: POINTS }, { lane: "layer" }).value;
  const compared = others.value.slice(0, COMPARED).map((other) => ({
    run: other,
    data: fetched("layer", { run: other, layer: name, points: POINTS }).value.data,
  }));
  return (
    <>
      <section class="card layer-head" aria-label={`Layer ${name}`}>
        <Breadcrumb name={name} />
        <div class="layer-title">
          <h1>{displayName(name)}</h1>
          <Findings name={name} />
        </div>
        {data && <LayerFacts data={data} />}
        {compared.length > 0 && <Compared runs={compared} />}
      </section>
      {data && data.panels.length > 0 && (
        <section class="card layer-panels" aria-label="Series and distributions">
          {data.panels.map((panel) => (
            <LayerPanel key={panel.id} panel={panel} layer={name} overlays={overlaid(compared, panel.id)} />
          ))}
        </section>
      )}
      {data?.attention && <LayerAttention attention={data.attention} />}
      {data?.filters && <LayerFilters filters={data.filters} />}
      {data && data.panels.length === 0 && !data.attention && (
        <p class="card chart-note">Nothing was recorded of this layer.</p>
      )}
      {!data && <p class="card chart-note">{error ?? "Reading the layer's records"}</p>}
    </>
  );
}

interface ComparedRun {
  run: string;
  data: LayerResponse | null;
}

/** The panel's series in the other runs, as far as they have this layer. */
function overlaid(compared: readonly ComparedRun[], id: string): Overlay[] {
  return compared.flatMap(({ run: other, data }, i) => {
    const panel = data?.panels.find((item) => item.id === id);
    const colour = COMPARED_COLOURS[i];
    return panel && colour ? [{ run: other, colour, steps: panel.steps, values: panel.values }] : [];
  });
}

function Compared({ runs }: { runs: readonly ComparedRun[] }) {
  const colours = palette(theme.value);
  return (
    <ul class="layer-compared" aria-label="Compared with">
      {[{ run: run.value, data: true }, ...runs].map(({ run: name, data }, i) => (
        <li key={name}>
          <i style={{ background: i === 0 ? colours.strong : COMPARED_COLOURS[i - 1]?.(colours) }} />
          {name}
          {!data && <span class="secondary"> has no such layer</span>}
        </li>
      ))}
    </ul>
  );
}

function Breadcrumb({ name }: { name: string }) {
  const parents = name.split(".").slice(0, -1);
  const layers = model.value.data?.layers ?? [];
  const at = layers.findIndex((item) => item.name === name);
  return (
    <nav class="breadcrumb" aria-label="Breadcrumb">
      <button
        type="button"
        class="link"
        onClick={() => {
          layer.value = null;
        }}
      >
        <svg width="8" height="10" viewBox="0 0 8 10" aria-hidden="true">
          <path d="M6 1 2 5l4 4" fill="none" stroke="currentColor" stroke-width="1.6" />
        </svg>
        {run.value}
      </button>
      {joinNumbers(parents).map((part, i) => (
        <span key={i} class="crumb">
          {part}
        </span>
      ))}
      <span class="layer-moves">
        <span>Previous and next layer</span>
        <Move by={-1} disabled={at <= 0} />
        <Move by={1} disabled={at < 0 || at >= layers.length - 1} />
      </span>
    </nav>
  );
}

/** `blocks`, `3`, `mlp` as `blocks.3`, `mlp`. */
function joinNumbers(parts: readonly string[]): string[] {
  const joined: string[] = [];
  for (const part of parts) {
    if (/^\d+$/.test(part) && joined.length > 0) joined[joined.length - 1] += `.${part}`;
    else joined.push(part);
  }
  return joined;
}

function Move({ by, disabled }: { by: 1 | -1; disabled: boolean }) {
  return (
    <button
      type="button"
      disabled={disabled}
      aria-label={by < 0 ? "Previous layer" : "Next layer"}
      onClick={() => moveLayer(by)}
    >
      <kbd>{by < 0 ? "[" : "]"}</kbd>
    </button>
  );
}

/** What was found here, in order of onset. */
function Findings({ name }: { name: string }) {
  const here = findings.value
    .filter(
      (item) =>
        item.layer === name || item.layers.includes(name) || (item.layer !== null && name.startsWith(`${item.layer}.`)),
    )
    .sort((a, b) => a.first_step - b.first_step);
  const worst =
    here.find((item) => item.severity === "critical") ?? here.find((item) => item.severity === "warning") ?? here[0];
  if (!worst) return <span class="secondary">no finding</span>;
  return (
    <>
      <span class={`verdict-label ${worst.severity}`}>
        <SeverityIcon severity={worst.severity} />
        {SEVERITY_WORDS[worst.severity]}
      </span>
      <span class="secondary">
        {here
          .map((item, i) => `${item.rule} from ${i === 0 ? "step " : ""}${formatStep(item.first_step)}`)
          .join(", then ")}
      </span>
    </>
  );
}
