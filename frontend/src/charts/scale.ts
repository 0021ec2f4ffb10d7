/** Axes: value to position, and ticks that a person would have chosen. */

export type ScaleKind = "linear" | "log" | "symlog" | "share";

export interface Scale {
  readonly kind: ScaleKind;
  readonly domain: readonly [number, number];
  readonly range: readonly [number, number];
  /** Position of a value; outside the domain it runs on, NaN stays NaN. */
  at(value: number): number;
  /** Value at a position. */
  invert(position: number): number;
  /** About `count` round values within the domain. */
  ticks(count: number): number[];
}

interface Transform {
  to(value: number): number;
  from(value: number): number;
  ticks(low: number, high: number, count: number): number[];
}

const identity: Transform = { to: (v) => v, from: (v) => v, ticks: linearTicks };

const logarithm: Transform = {
  to: (v) => (v > 0 ? Math.log10(v) : Number.isNaN(v) ? Number.NaN : Number.NEGATIVE_INFINITY),
  from: (v) => 10 ** v,
  ticks: logTicks,
};

/** sign(v) · log10(1 + |v| / linear): linear near zero, logarithmic beyond `linear`. */
function symmetricLogarithm(linear: number): Transform {
  return {
    to: (v) => Math.sign(v) * Math.log10(1 + Math.abs(v) / linear),
    from: (v) => Math.sign(v) * linear * (10 ** Math.abs(v) - 1),
    ticks: symlogTicks,
  };
}

export interface ScaleOptions {
  /** Where a symlog scale turns from linear to logarithmic. */
  linear?: number;
}

export function makeScale(
  kind: ScaleKind,
  domain: readonly [number, number],
  range: readonly [number, number],
  options: ScaleOptions = {},
): Scale {
  const transform = kind === "log" ? logarithm : kind === "symlog" ? symmetricLogarithm(options.linear ?? 1) : identity;
  const low = transform.to(domain[0]);
  const span = transform.to(domain[1]) - low || 1;
  const length = range[1] - range[0];
  return {
    kind,
    domain,
    range,
    at: (value) => range[0] + ((transform.to(value) - low) / span) * length,
    invert: (position) => transform.from(low + ((position - range[0]) / (length || 1)) * span),
    ticks: (count) => transform.ticks(domain[0], domain[1], count),
  };
}

/** Part of a step by which a value may pass a round end: 3e-3 as a float32 is a little more than 3e-3. */
const SLACK = 1e-5;

/** The round step (1, 2, 5 × a power of ten) that cuts `span` into at most `count` parts. */
export function niceStep(span: number, count: number): number {
  const raw = span / Math.max(1, count);
  if (!(raw > 0) || !Number.isFinite(raw)) return 1;
  const power = 10 ** Math.floor(Math.log10(raw) + 1e-9);
  const factor = [1, 2, 5, 10].find((step) => step * power >= raw * (1 - SLACK)) ?? 10;
  return factor * power;
}

export function linearTicks(low: number, high: number, count: number): number[] {
  const step = niceStep(high - low, count);
  const ticks: number[] = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i++) {
    ticks.push(Number((i * step).toPrecision(12)) || 0);
  }
  return ticks;
}

/** Powers of ten, thinned evenly; within a single decade 1, 2, 5; failing that, linear. */
export function logTicks(low: number, high: number, count: number): number[] {
  if (!(low > 0) || !(high > low)) return [];
  const first = Math.ceil(Math.log10(low) - 1e-9);
  const last = Math.floor(Math.log10(high) + 1e-9);
  if (last - first >= 1) {
    const every = Math.max(1, Math.ceil((last - first) / Math.max(1, count)));
    const ticks: number[] = [];
    // Counted from the top, so that the worst end of the axis always carries a label.
    for (let power = last; power >= first; power -= every) ticks.unshift(powerOfTen(power));
    return ticks;
  }
  const ticks: number[] = [];
  for (let power = first - 1; power <= last + 1; power++) {
    for (const digit of [1, 2, 5]) {
      const value = Number((digit * 10 ** power).toPrecision(12));
      if (value >= low * (1 - 1e-9) && value <= high * (1 + 1e-9)) ticks.push(value);
    }
  }
  return ticks.length >= 2 ? ticks : linearTicks(low, high, count);
}

function symlogTicks(low: number, high: number, count: number): number[] {
  const top = Math.max(Math.abs(low), Math.abs(high));
  if (!(top > 0)) return [0];
  const last = Math.floor(Math.log10(top) + 1e-9);
  const arms = low < 0 && high > 0 ? 2 : 1;
  const perArm = Math.max(1, Math.floor((count - 1) / arms));
  const every = Math.max(1, Math.ceil(3 / perArm));
  const ticks = low <= 0 && high >= 0 ? [0] : [];
  for (let i = 0; i < perArm; i++) {
    const value = powerOfTen(last - i * every);
    if (value <= high) ticks.push(value);
    if (-value >= low) ticks.unshift(-value);
  }
  return ticks.sort((a, b) => a - b);
}

/** 10 ** power without the rounding error of Math.pow (10 ** -5 is 0.000009999…). */
function powerOfTen(power: number): number {
  return Number(`1e${power}`);
}

/** The nearest round ends outside a domain. */
export function niceDomain(kind: ScaleKind, low: number, high: number, count = 4): [number, number] {
  if (kind === "share") return [0, 1];
  if (kind === "log") {
    const first = Math.floor(Math.log10(low) + SLACK);
    const last = Math.ceil(Math.log10(high) - SLACK);
    return [powerOfTen(first), powerOfTen(Math.max(last, first + 1))];
  }
  if (kind === "symlog") {
    const end = (v: number): number =>
      v === 0 ? 0 : Math.sign(v) * powerOfTen(Math.ceil(Math.log10(Math.abs(v)) - 1e-9));
    return low === high ? [low - 1, high + 1] : [end(Math.min(low, 0)), end(Math.max(high, 0))];
  }
  if (!(high > low)) {
    const pad = Math.abs(low) * 0.1 || 1;
    return [low - pad, low + pad];
  }
  const step = niceStep(high - low, count);
  const snap = (v: number): number => Number((v * step).toPrecision(12));
  return [snap(Math.floor(low / step + SLACK)), snap(Math.ceil(high / step - SLACK))];
}

/** A tick's label: 1e-3, 0.5, 10, 2,000. TensorBoard's font has no superscripts. */
export function formatTick(value: number, step = 0): string {
  if (!Number.isFinite(value)) return "";
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e5 || size < 1e-2) {
    return Number(value.toPrecision(4)).toExponential().replace("e+", "e");
  }
  const decimals = step > 0 ? Math.max(0, -Math.floor(Math.log10(step) + 1e-9)) : undefined;
  if (decimals !== undefined && decimals <= 4) return group(value.toFixed(decimals));
  return group(String(Number(value.toPrecision(4))));
}

/** A tick on a logarithmic axis: 1 and 10 in full, every other power of ten as 1e-1, 1e2. */
export function formatLogTick(value: number): string {
  const size = Math.abs(value);
  if (value === 0 || size === 1 || size === 10) return String(value);
  const power = Math.log10(size);
  if (Math.abs(power - Math.round(power)) > 1e-9) return formatTick(value);
  return value.toExponential().replace("e+", "e");
}

export function tickLabels(scale: Scale, ticks: readonly number[]): string[] {
  if (scale.kind === "share") return ticks.map((value) => `${Number((value * 100).toPrecision(4))} %`);
  if (scale.kind !== "linear") return ticks.map(formatLogTick);
  const step = ticks.length > 1 ? (ticks[1] as number) - (ticks[0] as number) : 0;
  return ticks.map((value) => formatTick(value, step));
}

function group(text: string): string {
  const [whole = "", decimals] = text.split(".");
  const grouped = whole.replace(/\B(?=(\d{3})+$)/g, ",");
  return decimals === undefined ? grouped : `${grouped}.${decimals}`;
}
