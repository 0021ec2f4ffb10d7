import { describe, expect, it } from "vitest";
import { customProperties, palette } from "../../src/lib/palette";

function luminance(hex: string): number {
  const [r = 0, g = 0, b = 0] = [1, 3, 5]
    .map((at) => Number.parseInt(hex.slice(at, at + 2), 16) / 255)
    .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

function contrast(a: string, b: string): number {
  const [dark = 0, light = 0] = [luminance(a), luminance(b)].sort((x, y) => x - y);
  return (light + 0.05) / (dark + 0.05);
}

describe.each(["light", "dark"] as const)("%s", (theme) => {
  const colours = palette(theme);
  const words = ["text", "secondary", "link", "critical", "warning", "info", "healthy", "noData", "codeText"] as const;

  it.each(words)("%s is legible on every ground", (word) => {
    for (const ground of [colours.surface, colours.selection, colours.code]) {
      expect(contrast(colours[word], ground)).toBeGreaterThanOrEqual(4.5);
    }
  });

  it("numbers are legible on their shapes", () => {
    for (const shape of [colours.critical, colours.warningIcon, colours.info, colours.noData]) {
      expect(contrast(colours.onShape, shape)).toBeGreaterThanOrEqual(4.5);
    }
  });
});

it("names custom properties as style sheets do", () => {
  expect(new Map(customProperties("light")).get("--critical-ground")).toBe(palette("light").criticalGround);
});
