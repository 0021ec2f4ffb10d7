/** All runs at once: how many are ill, of what, where, since when, and the table of them. */

import type { RunsResponse, Severity, Verdict } from "../api/types";
import { age, plural, RECENT, step } from "../lib/format";
import { countVerdicts, onsets, type Tally, tally } from "../lib/runs";
import { SeverityIcon, VERDICT_WORDS, VerdictIcon } from "./Icons";
import { OverviewTable } from "./OverviewTable";

const SHOWN: readonly Verdict[] = ["critical", "warning", "healthy", "no-data", "pending"];

export function Overview({ runs }: { runs: RunsResponse }) {
  return (
    <main class="overview">
      <section class="card summary" aria-label="Summary of all runs">
        <Total runs={runs} />
        <Ranking title="Root causes" tallies={tally(runs.runs, (worst) => worst.rule)} />
        <Ranking title="Where" tallies={tally(runs.runs, (worst) => worst.subject || "whole run")} />
        <Onsets runs={runs} />
      </section>
      <OverviewTable />
    </main>
  );
}

function headline(counts: Record<Verdict, number>, total: number): string {
  const parts = [
    counts.critical ? `${step(counts.critical)} critical` : "",
    counts.warning ? `${step(counts.warning)} with warnings` : "",
    counts.pending ? `${step(counts.pending)} being judged` : "",
  ].filter(Boolean);
  if (parts.length) return `${plural(total, "run")}: ${parts.join(", ")}`;
  return counts.healthy === total
    ? `${plural(total, "run")}, all healthy`
    : `${plural(total, "run")}: ${step(counts.healthy)} healthy`;
}

function Total({ runs }: { runs: RunsResponse }) {
  const counts = countVerdicts(runs.runs);
  const walls = runs.runs.flatMap((item) => item.last_wall ?? []);
  const now = Date.now() / 1000;
  const running = walls.filter((wall) => now - wall < RECENT).length;
  const newest = walls.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY);
  const facts = [
    runs.logdir,
    running ? `${plural(running, "run")} writing now` : "",
    Number.isFinite(newest) ? `newest record ${ago(newest, now)}` : "",
  ];
  const present = SHOWN.filter((verdict) => counts[verdict] > 0);
  return (
    <div class="total">
      <h1>{headline(counts, runs.runs.length)}</h1>
      <p class="secondary">{facts.filter(Boolean).join(" · ")}</p>
      <div class="shares" aria-hidden="true">
        {present.map((verdict) => (
          <span key={verdict} class={verdict} style={{ flexGrow: counts[verdict] }} />
        ))}
      </div>
      <ul class="share-key">
        {present.map((verdict) => (
          <li key={verdict} class={verdict}>
            <VerdictIcon verdict={verdict} />
            <span class={`word ${verdict}`}>{VERDICT_WORDS[verdict]}</span> {step(counts[verdict])}
          </li>
        ))}
      </ul>
    </div>
  );
}

function ago(wall: number, now: number): string {
  const text = age(wall, now);
  return text === "now" ? "just now" : `${text} ago`;
}

function Ranking({ title, tallies }: { title: string; tallies: readonly Tally[] }) {
  const most = Math.max(1, ...tallies.map((item) => item.count));
  return (
    <div class="ranking">
      <h2 class="small">{title}</h2>
      {tallies.length === 0 && <p class="secondary">None.</p>}
      <ul>
        {tallies.slice(0, 5).map((item) => (
          <li key={item.name}>
            <SeverityIcon severity={item.severity} size={13} />
            <code title={item.name}>{item.name}</code>
            <span class="measure" aria-hidden="true">
              <span class={item.severity} style={{ width: `${(100 * item.count) / most}%` }} />
            </span>
            <span class="number">{item.count}</span>
          </li>
        ))}
      </ul>
      {tallies.length > 5 && <p class="secondary">and {tallies.length - 5} more</p>}
    </div>
  );
}

const BINS = 20;
const STACK: readonly Exclude<Severity, "info">[] = ["warning", "critical"];

function Onsets({ runs }: { runs: RunsResponse }) {
  const { last, ...counts } = onsets(runs.runs, BINS);
  const totals = counts.critical.map((value, i) => value + (counts.warning[i] ?? 0));
  const most = Math.max(1, ...totals);
  const ill = totals.reduce((a, b) => a + b, 0);
  return (
    <div class="first-steps">
      <h2 class="small">
        Since when <span>runs by step of their first finding</span>
      </h2>
      <div
        class="bars"
        role="img"
        aria-label={`${plural(ill, "run")} with findings, by step of the first, from 0 to ${step(last)}`}
      >
        {totals.map((_, i) => (
          <span key={i} class="bar" title={`from step ${step((i * last) / BINS)}: ${totals[i]}`}>
            {STACK.map((severity) => (
              <span
                key={severity}
                class={severity}
                style={{ height: `${(100 * (counts[severity][i] ?? 0)) / most}%` }}
              />
            ))}
          </span>
        ))}
      </div>
      <div class="ticks" aria-hidden="true">
        <span>step 0</span>
        <span>{step(last / 2)}</span>
        <span>{step(last)}</span>
      </div>
    </div>
  );
}
