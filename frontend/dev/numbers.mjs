// Seeded series that look like a small transformer's training, healthy or diverging at step 398.

export const LAYERS = [
  "embed.tok",
  "embed.proj",
  ...Array.from({ length: 12 }, (_, i) =>
    ["ln_1", "attn", "ln_2", "mlp.fc", "mlp.proj"].map((n) => `blocks.${i}.${n}`),
  ).flat(),
  "ln_f",
  "head",
];
const TYPES = {
  tok: "Embedding",
  proj: "Linear",
  ln_1: "LayerNorm",
  ln_2: "LayerNorm",
  ln_f: "LayerNorm",
  attn: "Attention",
  fc: "Linear",
  head: "Linear",
};

export function random(seed) {
  let a = seed >>> 0;
  return () => {
    a = (a + 0x6d2b79f5) | 0;
    let t = Math.imul(a ^ (a >>> 15), 1 | a);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}
const normal = (next) => Math.sqrt(-2 * Math.log(next() + 1e-12)) * Math.cos(2 * Math.PI * next());

export const base64 = (values) => Buffer.from(Float32Array.from(values).buffer).toString("base64");
export const range = (first, last, every = 1) =>
  Array.from({ length: Math.floor((last - first) / every) + 1 }, (_, i) => first + i * every);

/** log10 of update : weight of a layer at a step. */
function logRatio(layer, step, ill, noise) {
  const index = LAYERS.indexOf(layer);
  const warm = -2.7 - 1.6 * Math.exp(-step / 25);
  let value = warm + 0.12 * Math.sin(index * 1.7) + 0.09 * noise;
  if (layer === "embed.proj" && ill && step > 60) value = -4 + 0.2 * noise;
  if (ill && layer.startsWith("blocks.3.mlp")) value += Math.max(0, step - 385) * 0.058;
  else if (ill) value += Math.max(0, step - 412) * 0.03 * (0.5 + 0.5 * Math.abs(Math.sin(index)));
  if (ill && layer === "blocks.7.ln_1" && step === 212) value = -0.9;
  return value;
}

const CENTRE = { "gradient-norm": 0.9, "activation-std": 1, "dead-units": 0.04, "weight-norm": 1 };

export function value(statistic, layer, step, ill, next) {
  const noise = normal(next);
  if (ill && step > 430) return statistic === "dead-units" ? 0.5 : Number.NaN;
  const ratio = 10 ** logRatio(layer, step, ill, noise);
  if (statistic === "update-ratio") return ratio;
  if (statistic === "dead-units")
    return layer === "embed.proj" && ill && step >= 60 ? 0.46 : Math.abs(0.04 + 0.01 * noise);
  const growth = ill && step > 398 ? 10 ** Math.max(0, ratio > 0.01 ? Math.log10(ratio) + 2 : 0) : 1;
  return CENTRE[statistic] * growth * (1 + 0.1 * noise);
}

export const STATISTICS = [
  {
    id: "update-ratio",
    title: "Update : weight ratio",
    unit: "per step",
    scale: "log",
    healthy: [2e-4, 5e-3],
    limits: [{ rule: "update-ratio-too-high", value: 0.1, direction: "above" }],
  },
  { id: "gradient-norm", title: "Gradient norm", unit: "L2", scale: "log", healthy: [0.009, 90], limits: [] },
  {
    id: "activation-std",
    title: "Activation std",
    unit: "1",
    scale: "log",
    healthy: [0.1, 10],
    limits: [{ rule: "exploding-activations", value: 100, direction: "above" }],
  },
  {
    id: "dead-units",
    title: "Dead units",
    unit: "share of units",
    scale: "share",
    healthy: [0, 0.3],
    limits: [{ rule: "dead-units", value: 0.4, direction: "above" }],
  },
  {
    id: "weight-norm",
    title: "Weight norm",
    unit: "relative to start",
    scale: "relative",
    healthy: [0.5, 2],
    limits: [],
  },
];

export const layerInfo = (name) => ({
  name,
  type: TYPES[name.split(".").at(-1)] ?? "Module",
  watch: "model",
  parameters: [
    {
      name: `${name}.weight`,
      shape: name.endsWith("fc") ? [3072, 768] : [768, 768],
      dtype: "bfloat16",
      numel: name.endsWith("fc") ? 2359296 : 589824,
      trainable: true,
      optimizer: "AdamW",
      group: 0,
      weight_decay: 0.1,
      initial_rms: 0.02,
      expected_rms: [0.018, 0.026],
    },
    {
      name: `${name}.bias`,
      shape: [3072],
      dtype: "bfloat16",
      numel: 3072,
      trainable: true,
      optimizer: "AdamW",
      group: 0,
      weight_decay: 0,
      initial_rms: 0,
      expected_rms: null,
    },
  ],
  statistics: STATISTICS.map((s) => s.id),
});

/** Values of some statistic of one layer over steps. */
export function series(statistic, layer, steps, ill) {
  const next = random(LAYERS.indexOf(layer) * 7919 + STATISTICS.findIndex((s) => s.id === statistic) * 31 + 1);
  return steps.map((step) => value(statistic, layer, step, ill, next));
}

export function loss(steps, ill, seed = 5) {
  const next = random(seed);
  return steps.map((step) => {
    if (ill && step > 430) return Number.NaN;
    const level = 5.9 + 5 * Math.exp(-step / (ill ? 95 : 700)) - (ill ? 0 : 3 * (1 - Math.exp(-step / 1500)));
    return level + 0.08 * normal(next) + (ill && step > 400 ? ((step - 400) / 8) ** 2 * 0.6 : 0);
  });
}
