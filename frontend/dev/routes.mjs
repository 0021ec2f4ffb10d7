// Answers of the mock server, by scenario, in the shapes of plugin/http_api.md.
import { readFileSync } from "node:fs";
import { base64, LAYERS, layerInfo, loss, random, range, STATISTICS, series } from "./numbers.mjs";

const fixture = (name) => JSON.parse(readFileSync(new URL(`../tests/fixtures/${name}.json`, import.meta.url), "utf8"));
const now = () => Date.now() / 1000;
let scene = "default";
const isIll = (run) => runs(scene).runs.some((row) => row.run === run && row.verdict === "critical");
const lastStep = (run) => (isIll(run) ? 450 : 5000);

/** Numbers that JSON lacks, as the server writes them. */
export const cleanse = (_, value) => (typeof value === "number" && !Number.isFinite(value) ? String(value) : value);

function withAges(answer) {
  for (const row of answer.runs) if (row.last_wall !== null) row.last_wall = now() - row.last_wall;
  return answer;
}

function sparkline(row, index) {
  const steps = range(0, row.steps, Math.max(1, Math.ceil(row.steps / 63)));
  const scaled = steps.map((s) => Math.round((s / Math.max(row.steps, 1)) * 450));
  row.loss = { tag: "loss/train", steps, values: loss(scaled, row.verdict === "critical", index + 1) };
  return row;
}

function manyRuns(count) {
  const next = random(3);
  const rules = ["update-ratio-too-high", "loss-scale-collapse", "dead-units", "gradient-spike", "overfitting"];
  const places = ["blocks.3.mlp", "", "embed.proj", "blocks.7.attn", "loss/val"];
  return Array.from({ length: count }, (_, i) => {
    const draw = next();
    const verdict = draw < 0.07 ? "critical" : draw < 0.28 ? "warning" : draw < 0.97 ? "healthy" : "no-data";
    const kind = verdict === "critical" ? Math.floor(next() * 2) : 2 + Math.floor(next() * 3);
    const ill = verdict === "critical" || verdict === "warning";
    const first = Math.floor(next() ** 1.5 * 4000);
    return {
      run: `sweep/lr${["1e-2", "3e-3", "1e-3", "3e-4"][i % 4]}-${i % 3 ? "bf16" : "fp16"}-wd${[0, 0.01, 0.1][i % 3]}-s${i}`,
      verdict,
      counts: {
        critical: verdict === "critical" ? 1 + Math.floor(next() * 3) : 0,
        warning: ill ? Math.floor(next() * 3) + 1 : 0,
        info: Math.floor(next() * 3),
      },
      has_records: verdict !== "no-data",
      steps: verdict === "critical" ? first + 80 : 5000,
      last_wall: [4, 840, 3700, 32000][i % 4],
      worst: ill ? { rule: rules[kind], subject: places[kind], severity: verdict, first_step: first } : null,
      train_loss: verdict === "critical" ? "NaN" : 2 + next() * 2,
      val_loss: verdict === "critical" ? null : 2.5 + next() * 2,
      error: null,
    };
  });
}

function runs(scenario) {
  const answer = fixture("runs");
  if (scenario === "empty") return { logdir: "/home/ada/runs", scalar_tags: 0, pending: 0, runs: [] };
  if (scenario === "many") answer.runs = manyRuns(3000);
  if (scenario === "sweep") answer.runs = manyRuns(200);
  if (scenario === "pending")
    for (const row of answer.runs.slice(0, 3))
      Object.assign(row, { verdict: "pending", worst: null, counts: { critical: 0, warning: 0, info: 0 } });
  if (scenario === "scalars") {
    answer.logdir = "/home/ada/runs";
    for (const row of answer.runs)
      Object.assign(row, {
        has_records: false,
        verdict: "no-data",
        worst: null,
        counts: { critical: 0, warning: 0, info: 0 },
      });
  }
  answer.runs.forEach(sparkline);
  return withAges(answer);
}

function report(run, scenario) {
  const row = runs(scenario).runs.find((item) => item.run === run);
  if (!row) return null;
  const answer = structuredClone(
    fixture(isIll(run) ? "report-critical" : row.has_records ? "report-healthy" : "report-no-data"),
  );
  Object.assign(answer.run, { run, last_wall: row.last_wall, has_records: row.has_records, steps: row.steps });
  if (scenario === "partial")
    answer.problems = [
      {
        path: "gpt-small/events.out.tfevents.1763.node4",
        message: "record 812 is cut off after 40 of 4,096 bytes; the rest of this file is skipped",
      },
    ];
  if (scenario === "stale") answer.run.closed = false;
  return answer;
}

function heatmap(run, query) {
  const statistic = query.get("statistic");
  const [from, to] = [Number(query.get("from") ?? 0), Number(query.get("to") ?? lastStep(run))];
  const columns = Math.min(Number(query.get("columns") ?? 400), to - from + 1);
  const width = (to - from + 1) / columns;
  const steps = range(0, columns - 1).map((i) => [
    from + Math.round(i * width),
    from + Math.round((i + 1) * width) - 1,
  ]);
  const rows = LAYERS.map((layer) =>
    series(
      statistic,
      layer,
      steps.map(([a]) => a),
      isIll(run),
    ),
  );
  const worst = rows.map((row) => {
    const best = row.reduce((at, v, i) => (Number.isFinite(v) && !(v < row[at]) ? i : at), 0);
    return { value: row[best], step: steps[best][0] };
  });
  const bad = isIll(run) ? LAYERS.map((_, i) => [i, 431, 450]) : [];
  return {
    statistic,
    layers: LAYERS,
    steps,
    records: to - from + 1,
    values_f32: base64(rows.flat()),
    worst,
    non_finite: bad,
  };
}

function evidence(run, index) {
  const item = fixture("report-critical").run.findings[index];
  if (!isIll(run) || !item) return null;
  const steps = range(0, 450);
  const info = STATISTICS.find((s) => s.id === item.statistic_id);
  const values = info ? series(info.id, item.layers[0] ?? "head", steps, true) : loss(steps, true);
  const others = info && LAYERS.slice(10, 50).map((layer) => series(info.id, layer, steps, true));
  const quantile = (q) =>
    steps.map((_, i) => others.map((row) => row[i]).sort((a, b) => a - b)[Math.floor(q * (others.length - 1))]);
  return {
    title: info?.title ?? "Loss",
    unit: info?.unit ?? "",
    scale: info?.scale ?? "linear",
    steps,
    values_f32: base64(values),
    low_f32: base64(values),
    high_f32: base64(values),
    healthy: item.evidence.healthy,
    limit: item.evidence.limit,
    direction: item.evidence.direction,
    trial: index === 0 ? { option: "max", value: item.evidence.limit, scale: 1 } : null,
    others: others
      ? {
          title: "other layers",
          median_f32: base64(quantile(0.5)),
          low_f32: base64(quantile(0.05)),
          high_f32: base64(quantile(0.95)),
        }
      : null,
  };
}

const smooth = (values, n = 12) =>
  values.map((_, i) => {
    const part = values.slice(Math.max(0, i - n), i + 1);
    return part.reduce((a, b) => a + b, 0) / part.length;
  });

function scalars(run, query) {
  const from = Number(query.get("from") ?? 0),
    to = Number(query.get("to") ?? lastStep(run));
  const every = Math.max(1, Math.floor((to - from) / 450));
  const steps = range(from, to, every),
    values = loss(steps, isIll(run)),
    mean = smooth(values);
  const val = range(Math.ceil(from / 50) * 50, Math.min(to, 400), 50);
  const norms = series("gradient-norm", "head", steps, isIll(run));
  const line = (tag, role, s, v) => ({
    tag,
    role,
    steps: s,
    values_f32: base64(v),
    mean_f32: null,
    low_f32: null,
    high_f32: null,
  });
  const tags = ["loss/train", "loss/val", "lr", "health/gradient_norm", "throughput"];
  const picked = query.getAll("tag");
  if (picked.length)
    return {
      tags,
      charts: picked.map((tag) => ({
        id: tag,
        title: tag,
        scale: "linear",
        series: [line(tag, "value", steps, values)],
      })),
    };
  return {
    tags,
    charts: [
      {
        id: "loss",
        title: "loss",
        scale: "linear",
        series: [
          {
            ...line("loss/train", "train", steps, values),
            mean_f32: base64(mean),
            low_f32: base64(mean.map((v) => v - 0.3)),
            high_f32: base64(mean.map((v) => v + 0.3)),
          },
          line(
            "loss/val",
            "val",
            val,
            loss(val, isIll(run)).map((v) => v + 0.2),
          ),
        ],
      },
      {
        id: "learning-rate",
        title: "learning rate",
        scale: "linear",
        series: [
          line(
            "lr",
            "value",
            steps,
            steps.map((s) => 3e-3 * Math.min(1, s / 400)),
          ),
        ],
      },
      {
        id: "gradient-norm",
        title: "gradient norm",
        scale: "log",
        series: [line("health/gradient_norm", "value", steps, norms)],
      },
    ],
  };
}

/** As if every rule had two options, and the finding went where the first is raised beyond what was reached. */
function rejudge(query) {
  const [rule, option, value] = [query.get("rule"), query.get("option"), Number(query.get("value"))];
  const options = [
    { name: "max", value: 0.1, default: 0.1, unit: "per step", help: "update beyond which a step is too large" },
    { name: "jump", value: 0.5, default: 0.5, unit: "1", help: "single step that counts alone" },
  ];
  if (!option) return { rule, options, tried: null };
  const gone = option === "max" && value > 1.4;
  const finding = {
    rule,
    subject: "blocks.3.mlp",
    severity: "critical",
    first_step: 398,
    last_step: 430,
    count: 33,
    message: "",
  };
  return {
    rule,
    options,
    tried: {
      option,
      value,
      verdict: "critical",
      sentence: gone ? "1 finding would be gone." : "1 finding would change.",
      kept: 0,
      changes: [
        gone ? { kind: "gone", was: null, ...finding } : { kind: "changed", was: finding, ...finding, first_step: 407 },
      ],
      changes_left_out: 0,
      python: `writer.watch(model, optimizer, rules={"${rule}": {"${option}": ${value}}})`,
      toml: `[rules.${rule}]\n${option} = ${value}`,
    },
  };
}

function layer(run, name) {
  if (!LAYERS.includes(name)) return null;
  const ill = isIll(run),
    steps = range(0, lastStep(run), Math.ceil(lastStep(run) / 450));
  const at = range(0, lastStep(run), Math.ceil(lastStep(run) / 100));
  const panel = (id, title, subtitle, statistic, centre, healthy, limit) => {
    const scale = centre / (CENTRES[statistic] ?? 1);
    const values = series(statistic, name, steps, ill).map((v) => v * scale);
    const level = series(statistic, name, at, ill).map((v) => v * scale);
    const shares = level.map((v) =>
      range(0, 63).map((i) => {
        const d = i - 40 - Math.log2(v || 1);
        return Number.isFinite(v) ? (d < 1 ? Math.exp(d / 3) : Math.exp(-((d - 1) ** 2))) / 5 : 0;
      }),
    );
    return {
      id,
      title,
      subtitle,
      statistic,
      scale: "log",
      unit: "1",
      steps,
      values_f32: base64(values),
      low_f32: base64(values),
      high_f32: base64(values),
      healthy,
      limit,
      direction: limit ? "above" : null,
      distribution: {
        steps: at,
        exponent_low: -40,
        shares_f32: base64(shares.flat()),
        zero_f32: base64(at.map(() => 0.01)),
        non_finite_f32: base64(level.map((v) => (Number.isFinite(v) ? 0 : 1))),
        mean_f32: base64(level.map((v) => v * 0.7)),
        p5_f32: base64(level.map((v) => v * 0.06)),
        p95_f32: base64(level.map((v) => v * 2)),
        max_f32: base64(level.map((v) => v * 6)),
      },
    };
  };
  return {
    layer: layerInfo(name),
    learning_rate: { steps, values_f32: base64(steps.map((s) => 3e-3 * Math.min(1, s / 400))) },
    panels: [
      panel("activations", "Activations", "standard deviation of the output", "activation-std", 1, [0.1, 10], 100),
      panel("gradients", "Gradients", "RMS of the weight gradient", "gradient-norm", 1e-3, [1e-5, 1e-2], null),
      panel("weights", "Weights", "RMS of the weight", "weight-norm", 0.03, [0.01, 0.1], null),
      panel("updates", "Updates", "RMS of the update relative to the weight", "update-ratio", 1, [2e-4, 5e-3], 0.1),
    ],
  };
}
const CENTRES = { "gradient-norm": 0.9 };

/** The answer to a route, or null for 404. */
export function answer(scenario, route, query) {
  scene = scenario === "pending" ? "default" : scenario;
  const run = query.get("run");
  if (route === "runs") return runs(scenario);
  if (route === "report") return report(run, scenario);
  if (!runs(scenario).runs.some((row) => row.run === run)) return null;
  if (route === "model")
    return { first_step: 0, last_step: lastStep(run), statistics: STATISTICS, layers: LAYERS.map(layerInfo) };
  if (route === "heatmap") return heatmap(run, query);
  if (route === "evidence") return evidence(run, Number(query.get("finding")));
  if (route === "rejudge") return rejudge(query);
  if (route === "scalars") return scalars(run, query);
  if (route === "layer") return layer(run, query.get("layer"));
  return null;
}
