/** Which key does what. Keys with modifiers, and keys typed into a field, are the browser's. */

import { back, moveBy, moveLayer, open } from "../state/actions";
import { helpOpen } from "../state/store";

export interface Shortcut {
  keys: readonly string[];
  what: string;
}

export const SHORTCUTS: readonly Shortcut[] = [
  { keys: ["j", "k"], what: "next and previous finding, or run in the overview" },
  { keys: ["Enter"], what: "open the finding's layer, or the run" },
  { keys: ["Esc"], what: "back: from the layer, from the zoom, to all runs" },
  { keys: ["/"], what: "filter runs" },
  { keys: ["[", "]"], what: "previous and next layer, on a layer's page" },
  { keys: ["Left", "Right"], what: "move the cursor through steps, in a heatmap or chart" },
  { keys: ["Up", "Down"], what: "move the limit of a finding's chart, or the row in the heatmap" },
  { keys: ["?"], what: "this list" },
];

function focusFilter(): void {
  document.querySelector<HTMLInputElement>("input[data-filter]")?.focus();
}

const ACTIONS: Record<string, () => void> = {
  j: () => moveBy(1),
  k: () => moveBy(-1),
  Enter: open,
  Escape: back,
  "/": focusFilter,
  "?": () => {
    helpOpen.value = true;
  },
  "[": () => moveLayer(-1),
  "]": () => moveLayer(1),
};

const EDITABLE = "input:not([type=checkbox]), textarea, select, [contenteditable]";
const ACTIVATED_BY_ENTER = "button, a, summary, input, [role=grid], [role=row]";

export function onKey(event: KeyboardEvent): void {
  if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
  const target = event.target instanceof Element ? event.target : null;
  if (target?.closest("dialog")) return;
  if (target?.closest(EDITABLE)) {
    if (event.key === "Escape") (target as HTMLElement).blur();
    return;
  }
  if (event.key === "Enter" && target?.closest(ACTIVATED_BY_ENTER)) return;
  const action = ACTIONS[event.key];
  if (!action) return;
  event.preventDefault();
  action();
}
