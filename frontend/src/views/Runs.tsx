/** The left pane: every run with its verdict; one is in focus, others are ticked for comparison. */

import type { RunSummary, Severity } from "../api/types";
import { Sparkline } from "../charts/Sparkline";
import { age, plural, step } from "../lib/format";
import { RUN_SORTS, type RunSort, runFilter } from "../lib/runs";
import { openRun, tickAll, toggleTick } from "../state/actions";
import { filter, listed, run, runs, sort, ticked } from "../state/store";
import { Icon, SeverityIcon, VerdictLabel } from "./Icons";
import { VirtualList } from "./VirtualList";

const ROW = 58;

export function Runs() {
  const all = runs.value.data?.runs.length ?? 0;
  const rows = listed.value;
  const names = rows.map((item) => item.run);
  const tickedHere = names.filter((name) => ticked.value.has(name)).length;
  return (
    <nav class="runs" aria-label="Runs">
      <RunFilter />
      <div class="runs-head">
        <input
          type="checkbox"
          aria-label="Tick all runs listed"
          checked={tickedHere > 0 && tickedHere === names.length}
          ref={(box) => {
            if (box) box.indeterminate = tickedHere > 0 && tickedHere < names.length;
          }}
          onChange={() => tickAll(names)}
        />
        <strong aria-live="polite">
          {rows.length === all ? plural(all, "run") : `${step(rows.length)} of ${plural(all, "run")}`}
        </strong>
        <label class="sort">
          Sort:{" "}
          <select value={sort.value} onChange={(event) => (sort.value = event.currentTarget.value as RunSort)}>
            {RUN_SORTS.map((item) => (
              <option key={item}>{item}</option>
            ))}
          </select>
        </label>
      </div>
      <button type="button" class="all-runs" onClick={() => openRun(null)}>
        <Icon name="grid" size={14} /> All runs
      </button>
      <VirtualList
        items={rows}
        rowHeight={ROW}
        label="Runs"
        name={(item) => item.run}
        keep={names.indexOf(run.value ?? "")}
      >
        {(item) => <RunRow item={item} />}
      </VirtualList>
      <p class="hint">
        {rows.length ? "Click a run to look at it; tick a second to compare." : "No run matches the filter."}
      </p>
    </nav>
  );
}

/** The field that filters runs; `/` puts the caret here. */
export function RunFilter() {
  const { fault } = runFilter(filter.value);
  return (
    <label class="filter">
      <Icon name="search" />
      <input
        type="search"
        data-filter
        placeholder="Filter runs (regex)"
        aria-label="Filter runs by regular expression"
        aria-invalid={fault ? "true" : "false"}
        title={fault ?? ""}
        value={filter.value}
        onInput={(event) => (filter.value = event.currentTarget.value)}
        spellcheck={false}
      />
      <kbd>/</kbd>
    </label>
  );
}

export const SEVERITIES: readonly Severity[] = ["critical", "warning", "info"];

export function Counts({ counts }: { counts: Record<Severity, number> }) {
  return (
    <span class="counts">
      {SEVERITIES.map((severity) => (
        <span key={severity} class={`count ${severity}`} aria-hidden={counts[severity] ? undefined : "true"}>
          {counts[severity] > 0 && (
            <>
              <SeverityIcon severity={severity} size={12} />
              {counts[severity]}
              <span class="hidden"> {severity}</span>
            </>
          )}
        </span>
      ))}
    </span>
  );
}

function RunRow({ item }: { item: RunSummary }) {
  const current = item.run === run.value;
  return (
    <div class={`run-row${current ? " current" : ""}`}>
      <input
        type="checkbox"
        aria-label={`Compare ${item.run}`}
        checked={ticked.value.has(item.run)}
        onChange={() => toggleTick(item.run)}
      />
      <button
        type="button"
        aria-current={current ? "page" : undefined}
        onClick={() => openRun(item.run)}
        title={item.error ?? item.run}
      >
        <RunName name={item.run} />
        <span class="run-verdict">
          <VerdictLabel verdict={item.verdict} size={13} />
          <Counts counts={item.counts} />
        </span>
        <span class="run-loss">
          {item.loss && <Sparkline steps={item.loss.steps} values={item.loss.values} width={64} height={24} />}
        </span>
        <span class="run-age">{item.last_wall !== null && `${step(item.steps)} · ${age(item.last_wall)}`}</span>
      </button>
    </div>
  );
}

/** Names of a sweep differ at their ends: a long one loses its middle. */
function RunName({ name }: { name: string }) {
  const cut = name.length > 16 ? name.length - 8 : name.length;
  return (
    <span class="run-name">
      <span>{name.slice(0, cut)}</span>
      <span>{name.slice(cut)}</span>
    </span>
  );
}
