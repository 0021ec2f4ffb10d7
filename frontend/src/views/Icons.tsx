/** Signs and shapes as SVG: TensorBoard's font subset has none of them. Decorative; words stand beside them. */

import type { ComponentChildren } from "preact";
import type { Severity, Verdict } from "../api/types";

const OCTAGON = "M5.3 .5h5.4l4.8 4.8v5.4l-4.8 4.8H5.3L.5 10.7V5.3z";
const TRIANGLE = "M8 .8 15.8 14.9H.2z";

function Svg({
  size,
  box = 16,
  class: name,
  children,
}: {
  size: number;
  box?: number;
  class?: string;
  children: ComponentChildren;
}) {
  return (
    <svg
      class={name ?? ""}
      width={size}
      height={size}
      viewBox={`0 0 ${box} ${box}`}
      aria-hidden="true"
      focusable="false"
    >
      {children}
    </svg>
  );
}

function Shape({ severity }: { severity: Severity }) {
  if (severity === "critical") return <path class="fill" d={OCTAGON} />;
  if (severity === "warning") return <path class="fill" d={TRIANGLE} />;
  return <circle class="fill" cx="8" cy="8" r="7.6" />;
}

/** A severity's shape with its sign. */
export function SeverityIcon({ severity, size = 14 }: { severity: Severity; size?: number }) {
  return (
    <Svg size={size} class={`sign ${severity}`}>
      <Shape severity={severity} />
      {severity === "critical" && <path class="mark" d="M8 4v5M8 11v1.4" />}
      {severity === "warning" && <path class="mark" d="M8 6v4M8 11.8v1.4" />}
      {severity === "info" && <path class="mark" d="M8 7v5M8 4v1.4" />}
    </Svg>
  );
}

/** A finding's number in its severity's shape. */
export function Badge({ severity, number, size = 18 }: { severity: Severity; number: number; size?: number }) {
  return (
    <Svg size={size} class={`badge ${severity}`}>
      <Shape severity={severity} />
      <text x="8" y={severity === "warning" ? 13 : 11.4} text-anchor="middle">
        {number}
      </text>
    </Svg>
  );
}

export function VerdictIcon({ verdict, size = 14 }: { verdict: Verdict; size?: number }) {
  if (verdict === "critical" || verdict === "warning") return <SeverityIcon severity={verdict} size={size} />;
  return (
    <Svg size={size} class={`sign ${verdict}`}>
      {verdict === "pending" ? (
        <circle class="ring" cx="8" cy="8" r="6.6" />
      ) : (
        <circle class="fill" cx="8" cy="8" r="7.6" />
      )}
      {verdict === "healthy" && <path class="mark" d="M4.6 8.3 7 10.6 11.4 5.8" />}
      {verdict === "no-data" && <path class="mark" d="M4.5 8h7" />}
    </Svg>
  );
}

export const VERDICT_WORDS: Record<Verdict, string> = {
  critical: "Critical",
  warning: "Warning",
  healthy: "Healthy",
  "no-data": "No data",
  pending: "Judging",
};

export function VerdictLabel({ verdict, size = 14 }: { verdict: Verdict; size?: number }) {
  return (
    <span class={`verdict-label ${verdict}`}>
      <VerdictIcon verdict={verdict} size={size} />
      {VERDICT_WORDS[verdict]}
    </span>
  );
}

const PATHS = {
  search: "M15.5 14h-.8l-.3-.3a6.5 6.5 0 1 0-.7.7l.3.3v.8l5 5 1.5-1.5zm-6 0a4.5 4.5 0 1 1 0-9 4.5 4.5 0 0 1 0 9z",
  copy: "M16 1H4a2 2 0 0 0-2 2v14h2V3h12zm3 4H8a2 2 0 0 0-2 2v14a2 2 0 0 0 2 2h11a2 2 0 0 0 2-2V7a2 2 0 0 0-2-2zm0 16H8V7h11z",
  done: "M9 16.2 4.8 12l-1.4 1.4L9 19 21 7l-1.4-1.4z",
  download: "M5 20h14v-2H5zM19 9h-4V3H9v6H5l7 7z",
  chevron: "M8.6 16.6 13.2 12 8.6 7.4 10 6l6 6-6 6z",
  external:
    "M19 19H5V5h7V3H5a2 2 0 0 0-2 2v14a2 2 0 0 0 2 2h14a2 2 0 0 0 2-2v-7h-2zM14 3v2h3.6l-9.8 9.8 1.4 1.4L19 6.4V10h2V3z",
  grid: "M3 3h8v8H3zm10 0h8v8h-8zM3 13h8v8H3zm10 0h8v8h-8z",
  sorted: "M11 4h2v12.2l5.6-5.6L20 12l-8 8-8-8 1.4-1.4 5.6 5.6z",
  close: "M19 6.4 17.6 5 12 10.6 6.4 5 5 6.4 10.6 12 5 17.6 6.4 19 12 13.4 17.6 19 19 17.6 13.4 12z",
} as const;

export function Icon({
  name,
  size = 18,
  class: extra = "",
}: {
  name: keyof typeof PATHS;
  size?: number;
  class?: string;
}) {
  return (
    <Svg size={size} box={24} class={`icon ${extra}`}>
      <path d={PATHS[name]} />
    </Svg>
  );
}

/** The long arrow of a chain of findings. */
export function Arrow({ width = 64 }: { width?: number }) {
  return (
    <svg class="arrow" width={width} height="8" viewBox={`0 0 ${width} 8`} aria-hidden="true">
      <path class="shaft" d={`M0 4H${width - 6}`} />
      <path class="head" d={`M${width} 4 ${width - 7} .8v6.4z`} />
    </svg>
  );
}
