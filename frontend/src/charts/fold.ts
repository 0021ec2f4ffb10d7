/** Layer names to the rows of the heatmap: groups by module tree, closed to thin rows, folded to one, or open. */

export interface Node {
  /** Stable name of the node's fold state. */
  key: string;
  label: string;
  /** All layers beneath, as indices in forward order. */
  layers: number[];
  /** Groups beneath; empty for a group whose members are layers. */
  children: Node[];
}

export interface Row {
  kind: "open" | "thin" | "folded";
  /** Layers whose worst the row shows; one for a row of a single layer. */
  layers: readonly number[];
  label: string;
  y: number;
  height: number;
}

/** What stands in the gutter for one displayed node, with the rows it has. */
export interface Block {
  node: Node;
  depth: number;
  open: boolean;
  /** Whether opening or closing it changes anything. */
  foldable: boolean;
  rows: Row[];
  y: number;
  height: number;
}

export const ROW = { open: 15, thin: 5, gap: 2 } as const;
/** A closed group is never lower than its label. */
const LABEL = 14;
/** Up to so many layers all groups begin open. */
const ALL_OPEN = 12;
/** Beyond so many layers closed groups are folded to one row. */
const FOLD = 300;
/** Beyond so many groups, those of one container are gathered beneath it. */
const GATHER = 48;
/** A container with more groups than this shows one row for all of them. */
const THIN_LIMIT = 100;

/** The model itself, where it holds parameters, is a layer without a name. */
export const displayName = (name: string): string => name || "(model)";

/** Groups consecutive layers: by the entry of a repeated container (`blocks.3`), else by their first parent. */
export function makeTree(names: readonly string[]): Node[] {
  const containers = repeatedContainers(names);
  const groups: Node[] = [];
  const taken = new Map<string, number>();
  names.forEach((name, layer) => {
    const label = groupOf(name, containers);
    const last = groups[groups.length - 1];
    if (last && last.label === label) {
      last.layers.push(layer);
      return;
    }
    const times = taken.get(label) ?? 0;
    taken.set(label, times + 1);
    groups.push({ key: times ? `${label}#${times}` : label, label, layers: [layer], children: [] });
  });
  return groups.length > GATHER ? gather(groups) : groups;
}

/** Names of modules with numbered children that hold layers of their own: `blocks` of `blocks.3.mlp`. */
function repeatedContainers(names: readonly string[]): Set<string> {
  const containers = new Set<string>();
  for (const name of names) {
    const parts = name.split(".");
    // The outermost list counts; experts within a block belong to their block.
    const at = parts.findIndex((part, i) => i > 0 && i < parts.length - 1 && /^\d+$/.test(part));
    if (at > 0) containers.add(parts.slice(0, at).join("."));
  }
  return containers;
}

function groupOf(name: string, containers: ReadonlySet<string>): string {
  const parts = name.split(".");
  for (let i = 1; i < parts.length; i++) {
    const prefix = parts.slice(0, i).join(".");
    if (containers.has(prefix))
      return /^\d+$/.test(parts[i] as string) ? `${prefix}.${parts[i]}` : `${prefix}.${parts[i]}`;
    const inner = [...containers].some((container) => container.startsWith(`${prefix}.`));
    if (!inner) return prefix;
  }
  return name;
}

function gather(groups: Node[]): Node[] {
  const nodes: Node[] = [];
  for (const group of groups) {
    const parent = group.label.includes(".") ? group.label.slice(0, group.label.lastIndexOf(".")) : group.label;
    const last = nodes[nodes.length - 1];
    if (last && last.label === parent && group.label !== parent) {
      last.children.push(group);
      last.layers.push(...group.layers);
    } else if (group.label !== parent) {
      nodes.push({ key: `${parent}/${group.key}`, label: parent, layers: [...group.layers], children: [group] });
    } else {
      nodes.push(group);
    }
  }
  return nodes.map((node) => (node.children.length === 1 ? (node.children[0] as Node) : node));
}

export interface FoldOptions {
  /** What the user opened (true) or closed (false), by node key. */
  chosen: ReadonlyMap<string, boolean>;
  /** Layers that a finding points at: their groups are open unless the user closed them. */
  marked: ReadonlySet<number>;
}

/** The blocks from top to bottom, with their rows placed. */
export function layOut(tree: readonly Node[], names: readonly string[], options: FoldOptions): Block[] {
  const blocks: Block[] = [];
  let y = 0;
  const small = names.length <= ALL_OPEN;
  const visit = (node: Node, depth: number): void => {
    const foldable = node.layers.length > 1;
    const open =
      !foldable || (options.chosen.get(node.key) ?? (small || node.layers.some((layer) => options.marked.has(layer))));
    const block: Block = { node, depth, open, foldable, rows: [], y, height: 0 };
    blocks.push(block);
    if (open && node.children.length > 0) {
      block.height = LABEL;
      y += LABEL + ROW.gap;
      const quiet = !options.chosen.has(node.key);
      for (const child of quiet ? gatherQuiet(node.children, options.marked) : node.children) visit(child, depth + 1);
      return;
    }
    block.rows = open ? openRows(node, names, y) : closedRows(node, names.length, y);
    block.height = block.rows.reduce((sum, row) => sum + row.height, 0);
    y += block.height + ROW.gap;
  };
  for (const node of tree) visit(node, 0);
  return blocks;
}

/** Neighbouring groups that no finding points at, as one: a container that opened by itself shows only what matters. */
function gatherQuiet(children: readonly Node[], marked: ReadonlySet<number>): Node[] {
  const gathered: Node[] = [];
  let run: Node[] = [];
  const flush = () => {
    const [first, last] = [run[0], run[run.length - 1]];
    if (first && last && first !== last) {
      const label = `${first.label}–${last.label.slice(last.label.lastIndexOf(".") + 1)}`;
      gathered.push({
        key: `${first.key}–${last.key}`,
        label,
        layers: run.flatMap((node) => node.layers),
        children: run,
      });
    } else gathered.push(...run);
    run = [];
  };
  for (const child of children) {
    if (!child.layers.some((layer) => marked.has(layer))) {
      run.push(child);
      continue;
    }
    flush();
    gathered.push(child);
  }
  flush();
  return gathered;
}

function openRows(node: Node, names: readonly string[], y: number): Row[] {
  return node.layers.map((layer, i) => ({
    kind: "open",
    layers: [layer],
    label: relativeName(names[layer] as string, node.label),
    y: y + i * ROW.open,
    height: ROW.open,
  }));
}

function closedRows(node: Node, total: number, y: number): Row[] {
  const members =
    node.children.length > 0 ? node.children.map((child) => child.layers) : node.layers.map((layer) => [layer]);
  const fold = members.length > THIN_LIMIT || (total > FOLD && node.children.length === 0);
  if (fold) return [{ kind: "folded", layers: node.layers, label: "", y, height: ROW.open }];
  const height = Math.max(ROW.thin, Math.ceil(LABEL / members.length));
  return members.map((layers, i) => ({ kind: "thin", layers, label: "", y: y + i * height, height }));
}

/** `mlp.fc` for `blocks.3.mlp.fc` within `blocks.3`. */
export function relativeName(name: string, group: string): string {
  return name.startsWith(`${group}.`) ? name.slice(group.length + 1) : name;
}

export function totalHeight(blocks: readonly Block[]): number {
  const last = blocks[blocks.length - 1];
  return last ? last.y + last.height : 0;
}

/** The layers that a finding about `subject` (a module, perhaps with layers beneath it) points at. */
export function layersUnder(names: readonly string[], subjects: Iterable<string>): Set<number> {
  const wanted = [...subjects].filter((subject) => subject !== "");
  const found = new Set<number>();
  names.forEach((name, i) => {
    if (wanted.some((subject) => name === subject || name.startsWith(`${subject}.`))) found.add(i);
  });
  return found;
}
