/** A finding's number in the shape of its severity, and where such marks stand along a step axis. */

import type { Severity } from "../api/types";

export interface Mark {
  /** Index of the finding in the report. */
  index: number;
  severity: Severity;
  step: number;
  title: string;
}

const SIZE = 16;

/** Octagon, triangle or circle; colours come from the style sheet. */
export function Marker({ severity, number }: { severity: Severity; number: number }) {
  return (
    <svg class={`marker ${severity}`} width={SIZE} height={SIZE} viewBox="0 0 16 16" aria-hidden="true">
      {severity === "critical" && <path d="M4.9 0.5h6.2l4.4 4.4v6.2l-4.4 4.4H4.9L0.5 11.1V4.9z" />}
      {severity === "warning" && <path d="M8 0.5 16 15.5H0z" />}
      {severity === "info" && <circle cx="8" cy="8" r="7.75" />}
      <text x="8" y={severity === "warning" ? 13.6 : 12} text-anchor="middle">
        {number}
      </text>
    </svg>
  );
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
