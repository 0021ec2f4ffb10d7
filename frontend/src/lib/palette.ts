/** Colours of the tab, light and dark: the one source for style sheets (as custom properties) and for canvases. */

import type { Theme } from "../state/store";

const light = {
  header: "#f57c00",
  page: "#f5f6f7",
  surface: "#ffffff",
  border: "#ebebeb",
  borderStrong: "#d8dadc",
  text: "#212121",
  secondary: "#5a5f66",
  grid: "#e9eaec",
  axis: "#b9bdc2",
  selection: "#f3f3f3",
  cursorPill: "#e0e0e0",
  link: "#1565c0",
  accent: "#f57c00",
  critical: "#b3261e",
  criticalGround: "#fdeeec",
  criticalBorder: "#f0c4bf",
  warning: "#8a5000",
  warningIcon: "#a35f00",
  warningBar: "#f2b04c",
  info: "#1565c0",
  healthy: "#00695c",
  healthyFill: "#2f8a7e",
  noData: "#656a70",
  /** What stands on a severity's shape: its number or sign. */
  onShape: "#ffffff",
  band: "rgba(0,137,123,.10)",
  bandEdge: "rgba(0,121,107,.45)",
  strong: "#2f3a48",
  train: "#425066",
  validation: "#00838f",
  context: "#c3c8ce",
  noise: "rgba(90,100,115,.13)",
  hatchGround: "#e4e5e7",
  hatchLine: "#5b6068",
  code: "#f5f6f7",
  codeText: "#1f6f43",
  shadow: "rgba(0,0,0,.22)",
};

export type Colours = typeof light;

const dark: Colours = {
  header: "#ef6c00",
  page: "#3a3a3a",
  surface: "#303030",
  border: "#4a4a4a",
  borderStrong: "#5c5c5c",
  text: "#ffffff",
  secondary: "#c0c4c9",
  grid: "#424346",
  axis: "#6c7076",
  selection: "#3d3d3d",
  cursorPill: "#505050",
  link: "#64b5f6",
  accent: "#ef6c00",
  critical: "#ff9a8d",
  criticalGround: "#46302d",
  criticalBorder: "#7d4a43",
  warning: "#ffc56e",
  warningIcon: "#ffc56e",
  warningBar: "#ffd591",
  info: "#82bdf8",
  healthy: "#62d2bf",
  healthyFill: "#4fae9f",
  noData: "#aeb3b9",
  onShape: "#212121",
  band: "rgba(98,210,191,.13)",
  bandEdge: "rgba(98,210,191,.5)",
  strong: "#e3e8ee",
  train: "#b9c4d0",
  validation: "#4dd0e1",
  context: "#5f646a",
  noise: "rgba(190,200,212,.14)",
  hatchGround: "#1b1b1b",
  hatchLine: "#b4b8be",
  code: "#3a3a3a",
  codeText: "#7fd0a0",
  shadow: "rgba(0,0,0,.5)",
};

/** Stops of a colour ramp, from nothing to most, to be interpolated in OKLab. */
export type Ramp = readonly [string, string, string, string, string];

export interface Ramps {
  tooSmall: Ramp;
  tooLarge: Ramp;
  distribution: Ramp;
}

const ramps: Record<Theme, Ramps> = {
  light: {
    tooSmall: ["#eceeef", "#bfd8ee", "#6ea8da", "#2b6cb0", "#123a74"],
    tooLarge: ["#eceeef", "#fbd3a4", "#f0913f", "#cc4c16", "#741a08"],
    distribution: ["#f5f3f8", "#cfc4e2", "#967fc2", "#5a4094", "#28124f"],
  },
  dark: {
    tooSmall: ["#464849", "#3b6080", "#3a86c6", "#62b0f4", "#a3d6ff"],
    tooLarge: ["#464849", "#7d5230", "#cb6f28", "#fb9a3f", "#ffd08a"],
    distribution: ["#353338", "#57487a", "#8871bb", "#bdace6", "#f3edff"],
  },
};

export interface Palette extends Colours, Ramps {}

const palettes: Record<Theme, Palette> = {
  light: { ...light, ...ramps.light },
  dark: { ...dark, ...ramps.dark },
};

/** Every token of a theme; the object is the same each time. */
export const palette = (theme: Theme): Palette => palettes[theme];

/** `criticalGround` is `--critical-ground` in a style sheet. */
export function customProperties(theme: Theme): [name: string, value: string][] {
  const colours = theme === "dark" ? dark : light;
  return Object.entries(colours).map(([name, value]) => [
    `--${name.replace(/[A-Z]/g, (c) => `-${c.toLowerCase()}`)}`,
    value,
  ]);
}
