/** The shared cursor in one plot: a line as high as the element that holds it. */

import { computed } from "@preact/signals";
import { cursorAt } from "./stepRange";

const style = computed(() => {
  if (cursorAt.value === null) return "display: none";
  // On whole device pixels, or the line would be smeared over two.
  const ratio = window.devicePixelRatio || 1;
  return `transform: translateX(${Math.round(cursorAt.value * ratio) / ratio}px)`;
});

export function CursorLine() {
  return <i class="cursor-line" style={style} />;
}
