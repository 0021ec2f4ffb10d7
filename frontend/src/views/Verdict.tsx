/** What is wrong, where, since when: one sentence, and the chain from the root cause to the last symptom. */

import type { Finding, RunReport } from "../api/types";
import { place } from "../lib/findings";
import { liveness, plural, step } from "../lib/format";
import { reportText } from "../lib/text";
import { selectFinding } from "../state/actions";
import { finding as chosen, saved } from "../state/store";
import { Arrow, Badge, VerdictLabel } from "./Icons";
import { CopyButton, Path, Pieces, Prose } from "./Prose";

export function Verdict({ report }: { report: RunReport }) {
  const facts = [
    [
      report.layers ? plural(report.layers, "layer") : "",
      `last step ${step(report.steps)}`,
      report.optimizers.join(", "),
    ]
      .filter(Boolean)
      .join(", "),
    liveness(report.last_wall, report.closed),
  ].filter(Boolean);
  const ill = report.verdict !== "healthy";
  return (
    <section class={`card verdict ${report.verdict}`} aria-label="Verdict">
      <div class="verdict-line">
        <VerdictLabel verdict={report.verdict} size={16} />
        <span class="run-title">{report.run}</span>
        {facts.map((fact) => (
          <span key={fact} class="fact">
            {fact}
          </span>
        ))}
        <span class="spacer" />
        <CopyButton text={() => reportText(report)} label="Copy verdict and findings as text">
          Copy as text
        </CopyButton>
        {!saved.value && (
          <a class="button" download href={`report_html?run=${encodeURIComponent(report.run)}`}>
            HTML report
          </a>
        )}
      </div>
      <h1 aria-live="polite">
        <Pieces of={report.sentence} />
      </h1>
      {report.closest && (!ill || report.chain.length === 0) && (
        <p class="closest">
          Closest to a limit: <Prose text={report.closest} names={names(report.closest)} />.
        </p>
      )}
      {ill && (report.chain.length > 0 || report.try_first) && (
        <div class={`chain-line${report.chain.length > ROOMY ? " long" : ""}`}>
          <Chain report={report} />
          {report.try_first && (
            <aside class="try-first" aria-label="Try first">
              <h2 class="small">Try first</h2>
              <p>
                <Prose text={report.try_first} />
              </p>
            </aside>
          )}
        </div>
      )}
    </section>
  );
}

/** A longer chain has smaller chips, and what to try stands beneath it. */
const ROOMY = 3;

/** More chips than this would be too narrow to be read; the list of findings has them all. */
const CHAIN_MOST = 5;

/** Dotted words are names of layers. */
const names = (text: string) => text.match(/\b[\w-]+(?:[./][\w-]+)+\b/g) ?? [];

function Chain({ report }: { report: RunReport }) {
  const links = report.chain.flatMap((index) => {
    const finding = report.findings[index];
    return finding ? [{ index, finding }] : [];
  });
  const shown = links.length > CHAIN_MOST ? links.slice(0, CHAIN_MOST - 1) : links;
  const rest = links[shown.length];
  return (
    <ol class="chain" aria-label="From the root cause to its symptoms">
      {shown.map(({ index, finding }, i) => {
        const before = links[i - 1]?.finding;
        return (
          <li key={index}>
            {before && <Link from={before} to={finding} />}
            <button
              type="button"
              class={`chip ${finding.severity}`}
              title={`${finding.rule} ${place(finding)}`}
              aria-pressed={index === chosen.value}
              onClick={() => selectFinding(index)}
            >
              <Badge severity={finding.severity} number={index + 1} />
              <span class="chip-name">
                <strong>{finding.rule}</strong>
                {i === 0 && links.length > 1 && <span class="pill">root cause</span>}
                <Path name={place(finding)} />
              </span>
              <span class="chip-step">
                <span>step </span>
                <strong>{step(finding.first_step)}</strong>
              </span>
            </button>
          </li>
        );
      })}
      {rest && (
        <li>
          <button type="button" class="link more" onClick={() => selectFinding(rest.index)}>
            and {links.length - shown.length} more
          </button>
        </li>
      )}
    </ol>
  );
}

function Link({ from, to }: { from: Finding; to: Finding }) {
  const steps = to.first_step - from.first_step;
  return (
    <span class="link">
      <span class="leads">leads to</span>
      <Arrow />
      <span>{steps === 0 ? "same step" : `${steps > 0 ? "+" : ""}${plural(steps, "step")}`}</span>
    </span>
  );
}
