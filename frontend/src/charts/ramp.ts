/** Colours of the heatmap: a value's distance from the healthy band, and the ramps it is looked up in. */

export type StatisticScale = "log" | "share" | "symlog" | "relative" | "ratio";
export type Band = readonly [number, number];

/** Colours 0xAABBGGRR, as a Uint32Array over ImageData wants them on little-endian machines. */
export type Lut = Uint32Array;

export const LUT_SIZE = 256;
/** Where the colour starts at the edge of the band, so that leaving it is seen. */
export const EDGE = 0.12;

type Triple = [number, number, number];

export function parseHex(hex: string): Triple {
  const match = /^#([0-9a-f]{2})([0-9a-f]{2})([0-9a-f]{2})$/i.exec(expandHex(hex.trim()));
  if (!match) throw new Error(`A ramp stop should be a colour like #2b6cb0, found "${hex}".`);
  return [1, 2, 3].map((i) => Number.parseInt(match[i] as string, 16)) as Triple;
}

function expandHex(hex: string): string {
  return /^#[0-9a-f]{3}$/i.test(hex) ? hex.replace(/[0-9a-f]/gi, (digit) => digit + digit) : hex;
}

const toLinear = (c: number): number => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
const fromLinear = (c: number): number => (c <= 0.0031308 ? c * 12.92 : 1.055 * c ** (1 / 2.4) - 0.055);

/** sRGB (0–255) to OKLab, with the matrices of Björn Ottosson, "A perceptual color space for image processing". */
export function toOklab([red, green, blue]: Triple): Triple {
  const r = toLinear(red / 255);
  const g = toLinear(green / 255);
  const b = toLinear(blue / 255);
  const l = Math.cbrt(0.4122214708 * r + 0.5363325363 * g + 0.0514459929 * b);
  const m = Math.cbrt(0.2119034982 * r + 0.6806995451 * g + 0.1073969566 * b);
  const s = Math.cbrt(0.0883024619 * r + 0.2817188376 * g + 0.6299787005 * b);
  return [
    0.2104542553 * l + 0.793617785 * m - 0.0040720468 * s,
    1.9779984951 * l - 2.428592205 * m + 0.4505937099 * s,
    0.0259040371 * l + 0.7827717662 * m - 0.808675766 * s,
  ];
}

export function fromOklab([lightness, a, b]: Triple): Triple {
  const l = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3;
  const m = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3;
  const s = (lightness - 0.0894841775 * a - 1.291485548 * b) ** 3;
  const channels: Triple = [
    4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s,
    -1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s,
    -0.0041960863 * l - 0.7034186147 * m + 1.707614701 * s,
  ];
  return channels.map((c) => Math.round(255 * fromLinear(Math.min(1, Math.max(0, c))))) as Triple;
}

/** The stops, spread evenly, as 256 opaque colours. */
export function buildLut(stops: readonly string[]): Lut {
  const colours = stops.map((stop) => toOklab(parseHex(stop)));
  const lut = new Uint32Array(LUT_SIZE);
  for (let i = 0; i < LUT_SIZE; i++) {
    const place = (i / (LUT_SIZE - 1)) * (colours.length - 1);
    const left = Math.min(Math.floor(place), colours.length - 2);
    const [from, to] = [colours[left] as Triple, colours[left + 1] as Triple];
    const mixed = from.map((c, k) => c + (place - left) * ((to[k] as number) - c)) as Triple;
    const [r, g, b] = fromOklab(mixed);
    lut[i] = (0xff000000 | (b << 16) | (g << 8) | r) >>> 0;
  }
  return lut;
}

export function cssColour(packed: number): string {
  return `rgb(${packed & 255}, ${(packed >> 8) & 255}, ${(packed >> 16) & 255})`;
}

/** How a statistic's values are judged against its healthy band. */
export interface Judge {
  readonly scale: StatisticScale;
  readonly band: Band;
  /** The values at the far ends of the arms; beyond them the colour stays. `null` where there is no such arm. */
  readonly ends: readonly [number | null, number];
  /**
   * Signed distance from the band: 0 within it, ±EDGE just outside, ±1 at the ends of the ramps; it keeps growing
   * beyond, so that the worst of two cells can be told. NaN where there is no record.
   */
  distance(value: number): number;
}

const SYMLOG_DECADES = 3;
/** Where zero stands among decades: farther from any band than float32 can be. */
const ZERO_DECADE = -50;

export function makeJudge(scale: StatisticScale, band: Band): Judge {
  const [low, high] = band;
  if (scale === "share") return shareJudge(band);
  if (scale === "symlog") {
    const unit = Math.max(Math.abs(low), Math.abs(high)) || 1;
    const place = (v: number): number => Math.sign(v) * Math.log10(1 + Math.abs(v) / unit);
    const end = unit * 10 ** SYMLOG_DECADES;
    return twoSided(scale, band, [-end, end], place);
  }
  const decades = scale === "relative" ? [1, 1] : [2, 3];
  const ends: Band = [
    10 ** (Math.floor(Math.log10(low) + 1e-9) - (decades[0] as number)),
    10 ** (Math.ceil(Math.log10(high) - 1e-9) + (decades[1] as number)),
  ];
  return twoSided(scale, band, ends, (v) => (v > 0 ? Math.log10(v) : Number.isNaN(v) ? Number.NaN : ZERO_DECADE));
}

export function twoSided(scale: StatisticScale, band: Band, ends: Band, place: (v: number) => number): Judge {
  const [low, high] = [place(band[0]), place(band[1])];
  const below = low - place(ends[0]) || 1;
  const above = place(ends[1]) - high || 1;
  return {
    scale,
    band,
    ends,
    distance(value) {
      const at = place(value);
      if (at > high) return EDGE + ((1 - EDGE) * (at - high)) / above;
      if (at < low) return -EDGE - ((1 - EDGE) * (low - at)) / below;
      return Number.isNaN(at) ? Number.NaN : 0;
    },
  };
}

/** One-sided. Where not even a small share is healthy, shares are judged by their decade: a millionth matters. */
function shareJudge(band: Band): Judge {
  const high = Math.min(1, Math.max(0, band[1]));
  const smallest = 1e-6;
  const reach = (v: number): number =>
    high > 0 ? (v - high) / (1 - high || 1) : Math.log10(Math.max(v, smallest) / smallest) / -Math.log10(smallest);
  return {
    scale: "share",
    band: [0, high],
    ends: [null, 1],
    distance: (value) => (value > high ? EDGE + (1 - EDGE) * reach(value) : Number.isNaN(value) ? Number.NaN : 0),
  };
}

/** Both arms of a ramp in one theme. */
export interface Ramp {
  small: Lut;
  large: Lut;
}

/** The colour of a distance. Neutral (the arms' common first stop) is the band. */
export function colourOf(ramp: Ramp, distance: number): number {
  const lut = distance < 0 ? ramp.small : ramp.large;
  const place = Math.min(1, Math.abs(distance));
  return lut[Math.round(place * (LUT_SIZE - 1))] as number;
}

/** "too large, 220× the healthy limit"; empty for a value without judgement. */
export function describe(judge: Judge, value: number): string {
  const distance = judge.distance(value);
  if (Number.isNaN(distance)) return "no record";
  if (distance === 0) return judge.scale === "ratio" ? "about the same" : "healthy";
  const [low, high] = judge.band;
  if (judge.scale === "ratio") return distance > 0 ? `${times(value)} as much` : `1/${times(1 / value)} as much`;
  if (judge.scale === "share") {
    return high > 0 ? `too large, healthy is up to ${percent(high)}` : "too large, healthy is none";
  }
  if (judge.scale === "symlog") {
    return distance > 0
      ? `too large, ${times(value / high)} the healthy limit`
      : `too far below zero, ${times(value / low)} the healthy limit`;
  }
  return distance > 0
    ? `too large, ${times(value / high)} the healthy limit`
    : value > 0
      ? `too small, ${times(low / value)} below the healthy limit`
      : "too small, exactly zero";
}

function times(factor: number): string {
  if (factor >= 1e5) return `${factor.toExponential(0).replace("e+", "e")}×`;
  return `${Number(factor.toPrecision(2)).toLocaleString("en-US")}×`;
}

function percent(share: number): string {
  return `${Number((share * 100).toPrecision(3))} %`;
}
