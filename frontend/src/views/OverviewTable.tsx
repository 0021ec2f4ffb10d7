/** The table of all runs: filtered, cut into segments by verdict, only the rows in sight exist. */

import { useRef } from "preact/hooks";
import type { RunSummary, Verdict } from "../api/types";
import { Sparkline } from "../charts/Sparkline";
import { csv, download } from "../lib/export";
import { age, number, step } from "../lib/format";
import { countVerdicts, type RunSort } from "../lib/runs";
import { openRun, tickAll, toggleTick } from "../state/actions";
import { listed, overviewRows, row, segment, sort, ticked } from "../state/store";
import { Icon, VERDICT_WORDS, VerdictLabel } from "./Icons";
import { Counts, RunFilter } from "./Runs";
import { useWindow } from "./VirtualList";

const ROW = 34;
const COLUMNS = 13;
const SEGMENTS: readonly Verdict[] = ["critical", "warning", "healthy", "no-data"];

export function OverviewTable() {
  const scroller = useRef<HTMLDivElement>(null);
  const rows = overviewRows.value;
  const at = Math.min(row.value, rows.length - 1);
  const { first, last } = useWindow(scroller, rows.length, ROW, at, 38);
  const longest = rows.reduce((most, item) => Math.max(most, item.steps), 1);
  const names = rows.map((item) => item.run);
  const shown = rows.slice(first, last);
  return (
    <section class="card runs-table" aria-label="All runs">
      <Toolbar />
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: a region that scrolls must be reachable by keyboard */}
      <section class="scroller" ref={scroller} tabIndex={0} aria-label="Table of runs">
        <table aria-rowcount={rows.length + 1}>
          <thead>
            <tr aria-rowindex={1}>
              <th class="tick">
                <input
                  type="checkbox"
                  aria-label="Tick all runs listed"
                  checked={names.length > 0 && names.every((name) => ticked.value.has(name))}
                  onChange={() => tickAll(names)}
                />
              </th>
              <Sortable by="severity">Verdict</Sortable>
              <Sortable by="name">Run</Sortable>
              <th>Worst finding</th>
              <th>Where</th>
              <th class="number">First step</th>
              <th>Findings</th>
              <th>Onset in run</th>
              <th>Loss</th>
              <th class="number">Train loss</th>
              <th class="number">Val loss</th>
              <th class="number">Last step</th>
              <Sortable by="recency" number>
                Age
              </Sortable>
            </tr>
          </thead>
          <tbody>
            <Spacer height={first * ROW} />
            {shown.map((item, i) => (
              <Row key={item.run} item={item} index={first + i} current={first + i === at} longest={longest} />
            ))}
            <Spacer height={(rows.length - last) * ROW} />
          </tbody>
        </table>
      </section>
      <footer>
        <span>
          {rows.length ? `${step(rows.length)} of ${step(listed.value.length)} runs listed` : "No run matches."}
        </span>
        <span class="spacer" />
        <span>
          <kbd>Enter</kbd> opens a run, <kbd>j</kbd> <kbd>k</kbd> move
        </span>
      </footer>
    </section>
  );
}

function Spacer({ height }: { height: number }) {
  return height > 0 ? (
    <tr class="room" style={{ height: `${height}px` }}>
      <td colSpan={COLUMNS} />
    </tr>
  ) : null;
}

function Sortable({ by, number: right = false, children }: { by: RunSort; number?: boolean; children: string }) {
  const active = sort.value === by;
  return (
    <th class={right ? "number" : ""} aria-sort={active ? (by === "name" ? "ascending" : "descending") : "none"}>
      <button type="button" class={active ? "active" : ""} onClick={() => (sort.value = by)}>
        {children}
        {active && <Icon name="sorted" size={14} />}
      </button>
    </th>
  );
}

function Toolbar() {
  const counts = countVerdicts(listed.value);
  const two = [...ticked.value];
  const choose = (verdict: Verdict | null) => {
    segment.value = verdict;
    row.value = 0;
  };
  return (
    <header class="toolbar">
      <RunFilter />
      <fieldset class="segments">
        <legend class="hidden">Verdict</legend>
        <button type="button" aria-pressed={segment.value === null} onClick={() => choose(null)}>
          All <span>{step(listed.value.length)}</span>
        </button>
        {SEGMENTS.map((verdict) => (
          <button type="button" key={verdict} aria-pressed={segment.value === verdict} onClick={() => choose(verdict)}>
            {VERDICT_WORDS[verdict]} <span>{step(counts[verdict])}</span>
          </button>
        ))}
      </fieldset>
      <span class="spacer" />
      <span class="secondary">{step(two.length)} ticked</span>
      <button type="button" class="button" disabled={two.length < 2} onClick={() => openRun(two[0] ?? null)}>
        Compare
      </button>
      <button
        type="button"
        class="button"
        onClick={() => download("runs.csv", "text/csv", runsCsv(overviewRows.value))}
      >
        <Icon name="download" size={16} /> CSV
      </button>
    </header>
  );
}

function Row({
  item,
  index,
  current,
  longest,
}: {
  item: RunSummary;
  index: number;
  current: boolean;
  longest: number;
}) {
  const { worst } = item;
  const judged = item.verdict !== "pending";
  return (
    <tr
      class={current ? "current" : ""}
      aria-rowindex={index + 2}
      onClick={() => (row.value = index)}
      onDblClick={() => openRun(item.run)}
    >
      <td class="tick">
        <input
          type="checkbox"
          aria-label={`Compare ${item.run}`}
          checked={ticked.value.has(item.run)}
          onChange={() => toggleTick(item.run)}
        />
      </td>
      <td>
        <VerdictLabel verdict={item.verdict} />
      </td>
      <td class="name">
        <button type="button" onClick={() => openRun(item.run)} title={item.error ?? item.run}>
          {item.run}
        </button>
      </td>
      <td>{worst?.rule ?? ""}</td>
      <td class="where">{worst && <code>{worst.subject || "whole run"}</code>}</td>
      <td class="number">{worst ? step(worst.first_step) : ""}</td>
      <td>
        <Counts counts={item.counts} />
      </td>
      <td>{worst && <Onset item={item} longest={longest} />}</td>
      <td>{item.loss && <Sparkline steps={item.loss.steps} values={item.loss.values} width={96} height={24} />}</td>
      <td class="number">{judged && loss(item.train_loss)}</td>
      <td class="number">{judged && loss(item.val_loss)}</td>
      <td class="number">{judged && step(item.steps)}</td>
      <td class="number secondary">{judged && age(item.last_wall)}</td>
    </tr>
  );
}

const loss = (value: number | null) => (value !== null && !Number.isFinite(value) ? "non-finite" : number(value, 3));

/** Where in the run its worst finding began; the line is as long as the run. */
function Onset({ item, longest }: { item: RunSummary; longest: number }) {
  if (!item.worst) return null;
  const width = 110;
  const length = Math.max(4, (width * item.steps) / longest);
  const at = Math.min(length, (width * item.worst.first_step) / longest);
  const { severity } = item.worst;
  return (
    <svg
      class={`onset-line ${severity}`}
      width={width + 10}
      height="12"
      viewBox={`-5 0 ${width + 10} 12`}
      role="img"
      aria-label={`from step ${step(item.worst.first_step)} of ${step(item.steps)}`}
    >
      <path class="rest" d={`M0 6H${width}`} />
      <path class="sound" d={`M0 6H${at}`} />
      <path class="ill" d={`M${at} 6H${length}`} />
      {severity === "warning" ? (
        <path class="mark" d={`M${at} 1.5l5 9h-10z`} />
      ) : (
        <circle class="mark" cx={at} cy="6" r="4.5" />
      )}
    </svg>
  );
}

function runsCsv(rows: readonly RunSummary[]): string {
  const header = [
    "run",
    "verdict",
    "worst finding",
    "where",
    "first step",
    "critical",
    "warning",
    "info",
    "train loss",
    "val loss",
    "last step",
    "last record",
  ];
  return csv(
    header,
    rows.map((item) => [
      item.run,
      item.verdict,
      item.worst?.rule ?? null,
      item.worst?.subject ?? null,
      item.worst?.first_step ?? null,
      item.counts.critical,
      item.counts.warning,
      item.counts.info,
      item.train_loss,
      item.val_loss,
      item.steps,
      item.last_wall === null ? null : new Date(item.last_wall * 1000).toISOString(),
    ]),
  );
}
