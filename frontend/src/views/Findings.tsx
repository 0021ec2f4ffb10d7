/** The list of findings, root causes first and symptoms beneath their cause, beside the chosen finding's card. */

import { useEffect, useRef } from "preact/hooks";
import { type Node, place, SEVERITY_WORDS } from "../lib/findings";
import { plural, steps } from "../lib/format";
import { selectFinding } from "../state/actions";
import { finding, findings, findingTrees, runReport } from "../state/store";
import { FindingCard } from "./FindingCard";
import { Badge } from "./Icons";
import { Path } from "./Prose";

export function Findings() {
  const report = runReport.value;
  const roots = findingTrees.value;
  const chosen = findings.value[finding.value];
  if (!report || !chosen) return null;
  const symptoms = findings.value.length - roots.length;
  const summary = [
    plural(roots.length, symptoms ? "root cause" : "finding"),
    symptoms ? plural(symptoms, "symptom") : "",
  ];
  return (
    <section class="card findings" aria-label="Findings">
      <div class="findings-list">
        <header>
          <h2>Findings</h2>
          <span>{summary.filter(Boolean).join(", ")}</span>
          <span class="spacer" />
          <kbd>j</kbd>
          <kbd>k</kbd>
        </header>
        <ol class="tree">
          {roots.map((node) => (
            <Row key={node.index} node={node} />
          ))}
        </ol>
        <p class="hint">
          Root causes first, symptoms beneath their cause. Numbers mark the same findings on every chart.
        </p>
      </div>
      <FindingCard key={report.run} report={report} finding={chosen} index={finding.value} />
    </section>
  );
}

function Row({ node }: { node: Node }) {
  const { finding: item, index, symptoms } = node;
  const current = index === finding.value;
  const row = useRef<HTMLButtonElement>(null);
  useEffect(() => {
    if (current) row.current?.scrollIntoView?.({ block: "nearest" }); // once painted: the page need not be laid out for it
  }, [current]);
  return (
    <li class={node.depth ? "symptom" : ""}>
      <button
        type="button"
        class={`finding-row${current ? " current" : ""}`}
        aria-current={current ? "true" : undefined}
        style={{ "--depth": node.depth }}
        onClick={() => selectFinding(index)}
        ref={row}
      >
        <Badge severity={item.severity} number={index + 1} size={20} />
        <span class="finding-name">
          <strong>{item.rule}</strong>
          <span class="finding-place">
            <Path name={place(item)} />
            {item.subjects.length > 1 && <code>+{item.subjects.length - 1}</code>}
          </span>
        </span>
        <span class="finding-when">
          <span>{steps(item.first_step, item.last_step)}</span>
          <span class={item.severity}>
            {SEVERITY_WORDS[item.severity]} <span class="times">· ×{item.count.toLocaleString("en-US")}</span>
          </span>
        </span>
      </button>
      {symptoms.length > 0 && (
        <ol>
          {symptoms.map((symptom) => (
            <Row key={symptom.index} node={symptom} />
          ))}
        </ol>
      )}
    </li>
  );
}
