/** The chosen finding: what was seen, against which limit, what to try, why it matters. */

import { useState } from "preact/hooks";
import type { Finding, RunReport } from "../api/types";
import { SEVERITY_WORDS } from "../lib/findings";
import { step } from "../lib/format";
import { findingText, namesOf } from "../lib/text";
import { layerOf } from "../state/actions";
import { layer } from "../state/store";
import { EvidenceChart } from "./EvidenceChart";
import { Dialog } from "./Help";
import { Icon, SeverityIcon } from "./Icons";
import { CopyButton, Markdown, Prose } from "./Prose";
import { Tune } from "./parts";

export function FindingCard({ report, finding, index }: { report: RunReport; finding: Finding; index: number }) {
  const [collapsed, setCollapsed] = useState(report.verdict === "healthy");
  const names = namesOf(finding);
  const target = layerOf(index);
  return (
    <article class={`finding-card${collapsed ? " collapsed" : ""}`} aria-label={finding.title}>
      <header>
        <button
          type="button"
          class="icon-button fold"
          aria-expanded={!collapsed}
          aria-label={collapsed ? "Show the finding" : "Hide the finding"}
          onClick={() => setCollapsed(!collapsed)}
        >
          <Icon name="chevron" size={16} class={collapsed ? "" : "down"} />
        </button>
        <h2>{finding.title}</h2>
        <code>{finding.rule}</code>
        <span class="spacer" />
        <span class={`verdict-label ${finding.severity}`}>
          <SeverityIcon severity={finding.severity} />
          {SEVERITY_WORDS[finding.severity]}
        </span>
        <span class="when">
          first {step(finding.first_step)} · last {step(finding.last_step)}
          {finding.active && ", still so"} · ×{finding.count.toLocaleString("en-US")}
        </span>
        <CopyButton text={() => findingText(finding, index + 1)} label="Copy this finding as text" />
      </header>
      <p class="message">
        <Prose text={finding.message} names={names} />
      </p>
      {!collapsed && (
        <>
          <div class="finding-body">
            <div class="evidence-slot">
              <EvidenceChart run={report.run} finding={index} />
            </div>
            {/* biome-ignore lint/a11y/noNoninteractiveTabindex: it scrolls where the window is low */}
            <section class="advice" aria-label="What to try" tabIndex={0}>
              {finding.advice.length > 0 && (
                <div>
                  <h3 class="small">What to try</h3>
                  <ol>
                    {finding.advice.map((item) => (
                      <li key={item}>
                        <Prose text={item} names={names} />
                      </li>
                    ))}
                  </ol>
                </div>
              )}
              <div class="background">
                {finding.why && (
                  <>
                    <h3 class="small">Why it matters</h3>
                    <p class="why">
                      <Prose text={finding.why} names={names} />
                    </p>
                  </>
                )}
                <References finding={finding} />
                {target && (
                  <button type="button" class="link" onClick={() => (layer.value = target)}>
                    Open layer <code>{target}</code>
                  </button>
                )}
              </div>
            </section>
          </div>
          <Tune key={finding.rule} finding={finding} />
        </>
      )}
    </article>
  );
}

function References({ finding }: { finding: Finding }) {
  const [page, setPage] = useState(false);
  return (
    <p class="references">
      {finding.rule_page && (
        <button type="button" class="link" onClick={() => setPage(true)}>
          Rule page
        </button>
      )}
      {finding.references.map(({ title, url }) => (
        <Reference key={url} title={title} url={url} />
      ))}
      {page && (
        <Dialog title={finding.rule} onClose={() => setPage(false)}>
          <Markdown text={finding.rule_page} />
        </Dialog>
      )}
    </p>
  );
}

/** Reports come from strangers' logs: only web addresses become links. */
function Reference({ title, url }: { title: string; url: string }) {
  if (!/^https?:\/\//.test(url)) return <span>{title}</span>;
  return (
    <a href={url} target="_blank" rel="noopener noreferrer">
      {title}
      <Icon name="external" size={12} />
    </a>
  );
}
