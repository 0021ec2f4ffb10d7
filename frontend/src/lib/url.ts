/** The tab's part of TensorBoard's address: `#nnhealth&p.nnhealth.run=a%2Fb&p.nnhealth.steps=10-400`. */

export const PLUGIN = "nnhealth";
const PREFIX = `p.${PLUGIN}.`;

/** What a person would want to send to a colleague. */
export interface Place {
  run: string | null;
  finding: string | null;
  statistic: string | null;
  range: readonly [number, number] | null;
  layer: string | null;
  ticked: readonly string[];
  tags: readonly string[];
  /** False where two runs are compared and yet only one is to be seen in the heatmap. */
  ratio: boolean;
  trial: { rule: string; option: string; value: number } | null;
  folds: readonly (readonly [group: string, open: boolean])[];
  filter: string;
  sort: string;
}

export const NOWHERE: Place = {
  run: null,
  finding: null,
  statistic: null,
  range: null,
  layer: null,
  ticked: [],
  tags: [],
  ratio: true,
  trial: null,
  folds: [],
  filter: "",
  sort: "severity",
};

const list = (items: readonly string[]) => items.map(encodeURIComponent).join(",");
const unlist = (text: string) => text.split(",").filter(Boolean).map(decode);

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** The hash of a place. `run` is always in it, empty for the overview, so that a bare `#nnhealth` is told apart. */
export function formatHash(place: Place): string {
  const values: [string, string | null][] = [
    ["run", place.run ?? ""],
    ["finding", place.finding],
    ["statistic", place.statistic],
    ["steps", place.range && `${place.range[0]}-${place.range[1]}`],
    ["layer", place.layer],
    ["ticked", list(place.ticked) || null],
    ["tags", list(place.tags) || null],
    ["ratio", place.ratio ? null : "off"],
    ["try", place.trial && `${place.trial.rule}:${place.trial.option}:${place.trial.value}`],
    ["folds", list(place.folds.map(([group, open]) => `${open ? "+" : "-"}${group}`)) || null],
    ["filter", place.filter || null],
    ["sort", place.sort === NOWHERE.sort ? null : place.sort],
  ];
  const kept = values.flatMap(([name, value]) =>
    value === null ? [] : `${PREFIX}${name}=${encodeURIComponent(value)}`,
  );
  return `#${[PLUGIN, ...kept].join("&")}`;
}

/** The place of a hash; null where it is another tab's, or says nothing of ours. */
export function parseHash(hash: string): Place | null {
  const [tab, ...parts] = hash.replace(/^#/, "").split("&");
  const values = new Map<string, string>();
  for (const part of parts) {
    const [name = "", ...value] = part.split("=");
    if (name.startsWith(PREFIX)) values.set(name.slice(PREFIX.length), decode(value.join("=")));
  }
  if (tab !== PLUGIN || !values.size) return null;
  const text = (name: string) => values.get(name) || null;
  const [, rule, option, value] = text("try")?.match(/^([\w-]+):(\w+):([-+.\de]+)$/) ?? [];
  const steps = text("steps")?.match(/^(\d+)-(\d+)$/);
  return {
    run: text("run"),
    finding: text("finding"),
    statistic: text("statistic"),
    range: steps && Number(steps[1]) < Number(steps[2]) ? [Number(steps[1]), Number(steps[2])] : null,
    layer: values.get("layer") ?? null, // "" is the model itself
    ticked: unlist(text("ticked") ?? ""),
    tags: unlist(text("tags") ?? ""),
    ratio: text("ratio") !== "off",
    trial: rule && option && Number.isFinite(Number(value)) ? { rule, option, value: Number(value) } : null,
    folds: unlist(text("folds") ?? "").map((item) => [item.slice(1), item.startsWith("+")] as const),
    filter: text("filter") ?? "",
    sort: text("sort") ?? NOWHERE.sort,
  };
}

/** Whether a hash shows our tab at all. */
export const isOurs = (hash: string): boolean => hash.replace(/^#/, "").split("&")[0] === PLUGIN;
