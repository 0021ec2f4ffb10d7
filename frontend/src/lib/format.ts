/** Numbers, steps, shares and ages as the tab writes them. TensorBoard's fonts lack arrows, ≥ and superscripts. */

const MISSING = "–";
/** Made once: tables name thousands of steps. */
const WHOLE = new Intl.NumberFormat("en-US");

/** At most `digits` significant digits; very small and very large as 1e-3, never as 10⁻³. */
export function number(value: number | null | undefined, digits = 2): string {
  if (value === null || value === undefined) return MISSING;
  if (Number.isNaN(value)) return "NaN";
  if (!Number.isFinite(value)) return value > 0 ? "inf" : "-inf";
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size < 0.001 || size >= 100_000) return exponential(value, digits);
  const rounded = Number(value.toPrecision(Math.max(digits, 1)));
  if (size >= 1000) return step(value);
  return String(rounded);
}

/** 1e-3, 2.5e4: no superfluous zeros, no plus. */
export function exponential(value: number, digits = 2): string {
  const [mantissa = "0", exponent = "0"] = value.toExponential(Math.max(digits - 1, 0)).split("e");
  return `${Number(mantissa)}e${Number(exponent)}`;
}

export function step(value: number): string {
  return WHOLE.format(Math.round(value));
}

/** "398–430", or one step alone. */
export function steps(first: number, last: number): string {
  return first === last ? step(first) : `${step(first)}–${step(last)}`;
}

export function percent(share: number | null | undefined): string {
  if (share === null || share === undefined || Number.isNaN(share)) return MISSING;
  const value = share * 100;
  if (value !== 0 && Math.abs(value) < 0.1) return `${exponential(value, 1)} %`;
  return `${Math.abs(value) < 10 ? Number(value.toFixed(1)) : Math.round(value)} %`;
}

export function plural(count: number, noun: string, nouns = `${noun}s`): string {
  return `${step(count)} ${count === 1 ? noun : nouns}`;
}

const MINUTE = 60;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
/** Younger than this, a run counts as writing still. */
export const RECENT = 30;

/** Age of a moment in seconds since 1970: "now", "6 min", "3 h", "2 d". */
export function age(wall: number | null, now: number = Date.now() / 1000): string {
  if (wall === null || !Number.isFinite(wall)) return MISSING;
  const seconds = Math.max(now - wall, 0);
  if (seconds < RECENT) return "now";
  if (seconds < HOUR) return `${Math.max(Math.round(seconds / MINUTE), 1)} min`;
  if (seconds < DAY) return `${Math.round(seconds / HOUR)} h`;
  return `${Math.round(seconds / DAY)} d`;
}

/** "stopped 6 min ago", "running": what a run's last record says of it. */
export function liveness(wall: number | null, closed: boolean, now: number = Date.now() / 1000): string {
  if (wall === null) return "";
  const text = age(wall, now);
  if (closed) return text === "now" ? "finished just now" : `finished ${text} ago`;
  return text === "now" ? "running" : `stopped ${text} ago`;
}
