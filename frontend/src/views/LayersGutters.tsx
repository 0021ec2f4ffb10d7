/** Left of the heatmap the names of groups and layers, right of it each row's worst value and its step. */

import { type Block, displayName, type Row } from "../charts/fold";
import { formatStep } from "../charts/paint";
import { colourOf, cssColour } from "../charts/ramp";
import { rampsOf } from "../charts/ramps";
import { meets, sight } from "../charts/sight";
import { heatmap } from "../charts/stepRange";
import { number } from "../lib/format";
import { layer, theme } from "../state/store";
import { blocks, chosenLayers, judge, names, toggle, worstLayer } from "./LayersModel";

const rowInSight = (row: Row): boolean => meets(row, sight.value);
/** The name of a group stands at its top, so that one without height is in sight as well. */
const inSight = ({ y, height }: Block): boolean => meets({ y, height: Math.max(1, height) }, sight.value);

export function LayersNames() {
  return (
    <div class="heatmap-names">
      {blocks.value.filter(inSight).map((block) => (
        <GroupName key={block.node.key} block={block} />
      ))}
    </div>
  );
}

function GroupName({ block }: { block: Block }) {
  const { node, open, foldable, y } = block;
  const chosen = node.layers.some((item) => chosenLayers.value.has(item));
  const style = {
    top: open ? y : y + Math.max(0, (block.height - 15) / 2),
    paddingLeft: block.depth * 10,
  };
  return (
    <>
      {foldable ? (
        <button
          type="button"
          class={`group-name ${chosen ? "chosen" : ""}`}
          style={style}
          aria-expanded={open}
          title={`${node.label}: ${node.layers.length} layers`}
          onClick={() => toggle(block)}
        >
          <Chevron open={open} />
          <span>{node.label}</span>
        </button>
      ) : null}
      {open &&
        block.rows.filter(rowInSight).map((row) => <LayerName key={row.layers[0]} row={row} alone={!foldable} />)}
    </>
  );
}

function LayerName({ row, alone }: { row: Row; alone: boolean }) {
  const index = row.layers[0] as number;
  const name = names.value[index] ?? "";
  return (
    <button
      type="button"
      class={`layer-name ${alone ? "alone" : ""} ${chosenLayers.value.has(index) ? "chosen" : ""}`}
      style={{ top: row.y, height: row.height }}
      title={displayName(name)}
      aria-label={`Open layer ${displayName(name)}`}
      onClick={() => {
        layer.value = name;
      }}
    >
      {displayName(alone ? name : row.label)}
    </button>
  );
}

function Chevron({ open }: { open: boolean }) {
  return (
    <svg width="10" height="10" viewBox="0 0 10 10" aria-hidden="true">
      <path d={open ? "M1 3l4 4 4-4" : "M3 1l4 4-4 4"} fill="none" stroke="currentColor" stroke-width="1.5" />
    </svg>
  );
}

export function LayersWorst() {
  return (
    <div class="heatmap-worst" aria-hidden="true">
      {blocks.value
        .filter(inSight)
        .flatMap((block) =>
          block.open || block.rows.length === 0
            ? block.rows
                .filter(rowInSight)
                .map((row) => <Worst key={row.layers[0]} row={row} y={row.y + row.height / 2} />)
            : [
                <Worst
                  key={block.node.layers[0]}
                  row={{ ...(block.rows[0] as Row), layers: block.node.layers }}
                  y={block.y + block.height / 2}
                />,
              ],
        )}
    </div>
  );
}

function Worst({ row, y }: { row: Row; y: number }) {
  const index = worstLayer(row);
  const worst = heatmap.value?.worst[index];
  if (!worst || !judge.value) return null;
  const colour = cssColour(colourOf(rampsOf(theme.value), judge.value.distance(worst.value)));
  return (
    <div class="worst" style={{ top: y - 8 }}>
      <i style={{ background: colour }} />
      <b>{number(worst.value)}</b>
      <span>at {formatStep(worst.step)}</span>
    </div>
  );
}
