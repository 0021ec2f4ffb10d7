/** Root causes and the symptoms beneath them. */

import type { Finding, Severity } from "../api/types";

export interface Node {
  index: number;
  finding: Finding;
  depth: number;
  symptoms: Node[];
}

const same = (a: { rule: string; subject: string }, b: { rule: string; subject: string }) =>
  a.rule === b.rule && a.subject === b.subject;

/** Findings as trees, in the report's order. A finding whose cause is not in the report is a root. */
export function trees(findings: readonly Finding[]): Node[] {
  const nodes = findings.map((finding, index): Node => ({ index, finding, depth: 0, symptoms: [] }));
  const parents = nodes.map(({ finding }) => {
    const cause = finding.caused_by;
    return cause ? nodes.findIndex((other) => same(other.finding, cause)) : -1;
  });
  const roots: Node[] = [];
  for (const [i, node] of nodes.entries()) {
    const parent = nodes[parents[i] ?? -1];
    if (parent && !leadsBackTo(i, parents)) parent.symptoms.push(node);
    else roots.push(node);
  }
  const descend = (node: Node, depth: number): void => {
    node.depth = depth;
    for (const symptom of node.symptoms) descend(symptom, depth + 1);
  };
  for (const root of roots) descend(root, 0);
  return roots;
}

/** Whether a finding is, by way of its causes, its own cause. */
function leadsBackTo(start: number, parents: readonly number[]): boolean {
  let at = parents[start] ?? -1;
  for (let n = 0; at >= 0 && n < parents.length; n++) {
    if (at === start) return true;
    at = parents[at] ?? -1;
  }
  return false;
}

/** Depth first: the order in which the list shows them and `j` and `k` walk. */
export function flatten(roots: readonly Node[]): Node[] {
  return roots.flatMap((node) => [node, ...flatten(node.symptoms)]);
}

export const SEVERITY_WORDS: Record<Severity, string> = { critical: "Critical", warning: "Warning", info: "Info" };

/** Where a finding is, as the list says it. */
export function place(finding: { subject: string }): string {
  return finding.subject || "whole run";
}
