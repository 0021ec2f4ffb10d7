/** Where marks of findings stand along a step axis. */

import type { Severity } from "../api/types";

export interface Mark {
  /** Index of the finding in the report. */
  index: number;
  severity: Severity;
  step: number;
  title: string;
}

/** Places for marks at sorted `positions`, `gap` apart where there is room: moved right where they collide, left at the end. */
export function spread(positions: readonly number[], gap: number, low: number, high: number): number[] {
  const room = positions.length > 1 ? Math.min(gap, (high - low) / (positions.length - 1)) : gap;
  const places: number[] = [];
  for (const position of positions) {
    const before = places[places.length - 1];
    places.push(Math.max(position, low, before === undefined ? low : before + room));
  }
  for (let i = places.length - 1, end = high; i >= 0; i--, end = (places[i + 1] as number) - room) {
    places[i] = Math.min(places[i] as number, end);
  }
  return places;
}
