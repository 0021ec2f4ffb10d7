/**
 * What the server answers, as `client.ts` hands it on: fields named `*_f32` have become Float32Arrays under
 * the name without that ending, and "NaN", "Infinity" and "-Infinity" are numbers. See plugin/http_api.md.
 */

export type Severity = "critical" | "warning" | "info";
/** "pending": the server is still judging this run. */
export type Verdict = "critical" | "warning" | "healthy" | "no-data" | "pending";
export type Direction = "above" | "below";
export type Scale = "log" | "share" | "symlog" | "relative" | "linear";
export type Band = readonly [low: number, high: number];

export interface RunsResponse {
  logdir: string;
  scalar_tags: number;
  /** Runs that have never been judged yet. */
  pending: number;
  /** Runs whose rows are known to change, those included: while it is not 0, ask again. */
  judging?: number;
  runs: RunSummary[];
  /** The replies about the run that is shown first, where it has been judged; null, or not there, where nobody asked. */
  first?: { run: string; report: ReportResponse; model: ModelResponse | null } | null;
}

export interface RunSummary {
  run: string;
  verdict: Verdict;
  counts: Record<Severity, number>;
  has_records: boolean;
  /** Whether it holds a report of the checks before training. */
  preflight?: boolean;
  steps: number;
  /** Seconds since 1970; null where nothing was read. */
  last_wall: number | null;
  worst: { rule: string; subject: string; severity: Severity; first_step: number } | null;
  /** Id of the statistic of its first finding; null where that is none of the heatmap's. */
  statistic?: string | null;
  train_loss: number | null;
  val_loss: number | null;
  /** A sentence where this run could not be judged. */
  error: string | null;
  /** Another one whenever the run was judged anew. */
  version?: number;
  loss: { tag: string; steps: number[]; values: number[] } | null;
}

export interface Problem {
  path: string;
  message: string;
}

export interface ReportResponse {
  schema: number;
  problems: Problem[];
  run: RunReport;
}

/** One piece of a sentence: prose, or a name to be set in monospace. */
export type Piece = { text: string; code?: undefined } | { code: string; text?: undefined };

export interface RunReport {
  run: string;
  verdict: Verdict;
  steps: number;
  sentence: Piece[];
  try_first: string | null;
  /** Indices of findings from the root cause to the last symptom. */
  chain: number[];
  closest: string | null;
  layers: number;
  optimizers: string[];
  last_wall: number | null;
  closed: boolean;
  has_records: boolean;
  checks: Checks;
  /** The sanity checks before training; absent in logs without them. */
  preflight?: Preflight | null;
  findings: Finding[];
  capture: Capture | null;
}

export type Status = "passed" | "finding" | "not-applicable" | "too-little-data" | "could-not-check" | "error";

export interface CheckOutcome {
  rule: string;
  group: string;
  title: string;
  status: Status;
  reason: string | null;
}

export interface Preflight {
  ok: boolean;
  checks: { id: string; status: "pass" | "warn" | "fail" | "skip"; message: string; advice: string[] }[];
}

export interface Checks {
  passed: number;
  not_applicable: number;
  could_not_check: { rule: string; needs: string }[];
  outcomes: CheckOutcome[];
}

export interface Evidence {
  statistic: string;
  unit: string;
  value: number;
  limit: number;
  direction: Direction;
  healthy: Band | null;
  /** Whatever numbers the rule adds. */
  [more: string]: unknown;
}

export interface Finding {
  rule: string;
  severity: Severity;
  /** Module, parameter or scalar tag; empty for the whole run. */
  subject: string;
  first_step: number;
  fired_step: number;
  last_step: number;
  count: number;
  active: boolean;
  caused_by: { rule: string; subject: string } | null;
  message: string;
  evidence: Evidence;
  advice: string[];
  title: string;
  why: string;
  references: { title: string; url: string }[];
  rule_page: string;
  snippet: string;
  /** Null where the finding is about a scalar or no statistic of the heatmap. */
  statistic_id: string | null;
  layer: string | null;
  layers: string[];
  subjects: { subject: string; first_step: number; last_step: number }[];
}

export interface Capture {
  written: number;
  dropped: number;
  /** Fractions of the step time. */
  overhead: number | null;
  budget: number | null;
  every: number | null;
  reason: string | null;
  errors: string[];
  format: number;
}

export interface ModelResponse {
  /** Null without records. */
  first_step: number | null;
  last_step: number | null;
  statistics: StatisticInfo[];
  layers: LayerInfo[];
  /** The model has so many parameters that only `layer` tells them. */
  parameters_left_out?: boolean;
  /** Whether ranks of a distributed job were compared. */
  ranks?: boolean;
}

export interface RanksResponse {
  steps: number[];
  ranks: RankRow[];
  ranks_left_out: number;
}

export interface RankRow {
  rank: string;
  loss: number | null;
  /** Median of its own time of a step, and relative to the others'. */
  seconds: number | null;
  times: number | null;
  /** Greatest share of parameters unlike rank 0's, since when, and the first of them. */
  unlike: number | null;
  unlike_from: number | null;
  parameter: string | null;
  same_batch: number | null;
  loss_over_steps: Float32Array;
  seconds_over_steps: Float32Array;
}

export interface StatisticInfo {
  id: string;
  title: string;
  unit: string;
  scale: Scale;
  healthy: Band | null;
  limits: { rule: string; value: number; direction: Direction }[];
}

export interface LayerInfo {
  /** "" is the model itself, where it holds parameters. */
  name: string;
  /** "" for a module that only owns parameters, such as an attention block. */
  type: string;
  watch: string;
  parameters: ParameterInfo[];
  statistics: string[];
}

export interface ParameterInfo {
  name: string;
  shape: number[];
  dtype: string;
  numel: number;
  trainable: boolean;
  optimizer: string | null;
  group: number | null;
  weight_decay: number | null;
  initial_rms: number | null;
  expected_rms: Band | null;
}

export interface HeatmapResponse {
  statistic: string;
  layers: string[];
  /** How many layers found no room in the answer. */
  layers_left_out?: number;
  /** The band of these cells. */
  healthy?: Band;
  /** First and last step of each column, both included. */
  steps: [number, number][];
  records: number;
  /** Shape (layers, columns), row-major; NaN means no record. */
  values: Float32Array;
  worst: ({ value: number; step: number } | null)[];
  /** Cells to which the band does not apply: index of the layer, first and last step. */
  neutral?: [layer: number, first: number, last: number][];
  /** Index of the layer, first and last step. */
  non_finite: [layer: number, first: number, last: number][];
  /** Set by the tab: values are ratios to those of this run. */
  relativeTo?: string;
}

export interface EvidenceResponse {
  title: string;
  unit: string;
  scale: Scale;
  steps: number[];
  values: Float32Array;
  low: Float32Array | null;
  high: Float32Array | null;
  healthy: Band | null;
  limit: number | null;
  direction: Direction | null;
  /** What it is compared with, such as the other layers: median, 5 % and 95 %. */
  others: { title: string; median: Float32Array; low: Float32Array; high: Float32Array } | null;
  /** The option of the rule that draws the limit: limit = value * scale. */
  trial?: { option: string; value: number; scale: number } | null;
}

export interface RuleOption {
  name: string;
  value: number;
  default: number;
  unit: string;
  help: string;
}

export type ChangedFinding = Pick<
  Finding,
  "rule" | "subject" | "severity" | "first_step" | "last_step" | "count" | "message"
>;

export interface RejudgeResponse {
  rule: string;
  options: RuleOption[];
  tried: {
    option: string;
    value: number;
    verdict: Verdict;
    sentence: string;
    kept: number;
    changes: (ChangedFinding & { kind: "gone" | "new" | "changed"; was: ChangedFinding | null })[];
    changes_left_out: number;
    python: string;
    toml: string;
  } | null;
}

export interface ScalarsResponse {
  tags: string[];
  tags_left_out?: number;
  charts: ScalarChart[];
}

export interface ScalarChart {
  id: string;
  title: string;
  scale: "linear" | "log";
  series: ScalarSeries[];
}

export interface ScalarSeries {
  tag: string;
  role: "train" | "val" | "value";
  steps: number[];
  values: Float32Array;
  mean: Float32Array | null;
  low: Float32Array | null;
  high: Float32Array | null;
  /** Extremes within each point. */
  min?: Float32Array | null;
  max?: Float32Array | null;
}

export interface LayerResponse {
  layer: LayerInfo;
  learning_rate: { steps: number[]; values: Float32Array } | null;
  panels: LayerPanel[];
  /** Of the first convolution, where they were recorded. */
  filters?: FilterPictures | null;
  /** Of the module that computes attention: the layer itself, or the one around it. */
  attention?: AttentionHeads | null;
}

export interface AttentionHeads {
  layer: string;
  heads: number[];
  heads_left_out: number;
  /** First and last step of each column. */
  steps: [number, number][];
  strips: {
    statistic: string;
    title: string;
    scale: Scale;
    healthy: Band;
    /** (heads, columns). */
    values: Float32Array;
  }[];
}

export interface FilterPictures {
  parameter: string;
  /** Filters of the convolution, of which the first are shown. */
  total: number;
  pictures: {
    step: number;
    /** Filters, planes (3 or 1), height, width. */
    shape: [number, number, number, number];
    /** Base64 of bytes. */
    pixels: string;
    smoothness: number | null;
    noisy: number[];
  }[];
}

export interface LayerPanel {
  id: "activations" | "gradients" | "weights" | "updates";
  title: string;
  subtitle: string;
  statistic: string;
  scale: Scale;
  unit: string;
  steps: number[];
  values: Float32Array;
  low: Float32Array | null;
  high: Float32Array | null;
  healthy: Band | null;
  limit: number | null;
  direction: Direction | null;
  limits?: StatisticInfo["limits"];
  distribution: Distribution | null;
}

export interface Distribution {
  steps: number[];
  exponent_low: number;
  /** Shape (steps, 64): share of elements with floor(log2 |x|) = exponent_low + i. */
  shares: Float32Array;
  zero: Float32Array;
  non_finite: Float32Array;
  mean: Float32Array;
  p5: Float32Array;
  p95: Float32Array;
  max: Float32Array;
}
