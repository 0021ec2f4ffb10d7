/** Every rule, and what became of it: folded where there are findings, open in a healthy run. */

import { useState } from "preact/hooks";
import type { Checks as AllChecks, CheckOutcome, Preflight, Status } from "../api/types";
import { plural } from "../lib/format";
import { Icon, VerdictIcon } from "./Icons";
import { Prose } from "./Prose";

const BEFORE = "before training";
const GROUPS = [
  BEFORE,
  "gradients",
  "updates",
  "activations",
  "weights",
  "numerics",
  "loss",
  "data",
  "set-up",
  "distributed",
  "shim",
];
const STATUS_WORDS: Record<Status, string> = {
  passed: "passed",
  finding: "finding",
  "not-applicable": "not applicable",
  "too-little-data": "too little data",
  "could-not-check": "could not check",
  error: "failed",
};

const STATUSES = { pass: "passed", warn: "finding", fail: "error", skip: "could-not-check" } as const;

export function Checks({
  checks,
  preflight,
  open: initially,
}: {
  checks: AllChecks;
  preflight?: Preflight | null | undefined;
  open: boolean;
}) {
  const [open, setOpen] = useState(initially);
  const before = (preflight?.checks ?? []).map(
    ({ id, status, message }): CheckOutcome => ({
      rule: id,
      group: BEFORE,
      title: id,
      status: STATUSES[status],
      reason: message,
    }),
  );
  const all = [...before, ...checks.outcomes];
  const missing = checks.outcomes.filter((item) => item.status === "could-not-check").length;
  const failed = all.filter((item) => item.status === "error").length;
  const early = checks.outcomes.filter((item) => item.status === "too-little-data").length;
  return (
    <section class="card checks" aria-label="Checks">
      <header>
        <button type="button" class="fold" aria-expanded={open} onClick={() => setOpen(!open)}>
          <Icon name="chevron" class={open ? "down" : ""} />
          <h2>Checks</h2>
        </button>
        {checks.passed > 0 && (
          <span class="check-count">
            <VerdictIcon verdict="healthy" /> {checks.passed} passed
          </span>
        )}
        {checks.not_applicable > 0 && <span class="fact">{checks.not_applicable} not applicable</span>}
        {early > 0 && <span class="fact">{early} with too little data</span>}
        {missing > 0 && <span class="fact strong">{missing} could not check</span>}
        {failed > 0 && <span class="fact strong">{failed} failed</span>}
        <span class="spacer" />
        {!open && <Hint checks={checks} />}
        {open && <Key />}
      </header>
      {open && (
        <dl class="check-groups">
          {groups(all).map(([group, outcomes]) => (
            <Group key={group} group={group} outcomes={outcomes} />
          ))}
        </dl>
      )}
    </section>
  );
}

function groups(outcomes: readonly CheckOutcome[]): [string, CheckOutcome[]][] {
  const found = new Map<string, CheckOutcome[]>(GROUPS.map((group) => [group, []]));
  for (const item of outcomes) {
    const members = found.get(item.group);
    if (members) members.push(item);
    else found.set(item.group, [item]);
  }
  return [...found].filter(([, members]) => members.length > 0);
}

/** What to log so that the most rules at once could be checked. */
function Hint({ checks }: { checks: AllChecks }) {
  const byNeed = new Map<string, string[]>();
  for (const { rule, needs } of checks.could_not_check) byNeed.set(needs, [...(byNeed.get(needs) ?? []), rule]);
  const [needs, rules] = [...byNeed].sort((a, b) => b[1].length - a[1].length)[0] ?? [];
  if (!needs || !rules) return null;
  const named = rules.slice(0, 2).join(" and ");
  const more = rules.length > 2 ? ` and ${rules.length - 2} more` : "";
  return (
    <span class="check-hint">
      To check <code>{named}</code>
      {more}, <Prose text={needs} names={["criterion=", "watch()"]} />
    </span>
  );
}

function Key() {
  return (
    <ul class="check-key" aria-label="Key">
      {(["passed", "finding", "not-applicable", "could-not-check"] as const).map((status) => (
        <li key={status}>
          <Square status={status} /> {STATUS_WORDS[status]}
        </li>
      ))}
    </ul>
  );
}

function Square({ status }: { status: Status }) {
  return <span class={`square ${status}`} aria-hidden="true" />;
}

function Group({ group, outcomes }: { group: string; outcomes: readonly CheckOutcome[] }) {
  const [all, setAll] = useState(false);
  const title = group === "shim" ? "The shim" : group.charAt(0).toUpperCase() + group.slice(1);
  return (
    <div class="check-group">
      <dt>
        <button type="button" aria-expanded={all} onClick={() => setAll(!all)}>
          {title}
        </button>
      </dt>
      <dd>
        <span class="squares" role="img" aria-label={tallied(outcomes)}>
          {outcomes.map((item) => (
            <span
              key={item.rule}
              class={`square ${item.status}`}
              title={`${item.rule}: ${STATUS_WORDS[item.status]}${item.reason ? `, ${item.reason}` : ""}`}
            />
          ))}
        </span>
        {!all && <Reasons outcomes={outcomes} />}
        {all && (
          <ul class="check-list">
            {outcomes.map((item) => (
              <li key={item.rule}>
                <Square status={item.status} />
                <code>{item.rule}</code>{" "}
                <span>
                  {STATUS_WORDS[item.status]}
                  {item.reason && ": "}
                </span>
                {item.reason && <Prose text={item.reason} />}
              </li>
            ))}
          </ul>
        )}
      </dd>
    </div>
  );
}

function tallied(outcomes: readonly CheckOutcome[]): string {
  const counts = new Map<Status, number>();
  for (const { status } of outcomes) counts.set(status, (counts.get(status) ?? 0) + 1);
  return [...counts].map(([status, count]) => `${count} ${STATUS_WORDS[status]}`).join(", ");
}

/** The reasons of what did not pass, alike ones said once. */
function Reasons({ outcomes }: { outcomes: readonly CheckOutcome[] }) {
  const open = outcomes.filter((item) => item.status !== "passed");
  if (!open.length) return <span class="reason">all passed</span>;
  const byReason = new Map<string, CheckOutcome[]>();
  for (const item of open) {
    const reason = `${STATUS_WORDS[item.status]}: ${item.reason ?? ""}`;
    byReason.set(reason, [...(byReason.get(reason) ?? []), item]);
  }
  const shown = [...byReason.values()].slice(0, 2);
  return (
    <span class="reason">
      {shown.map((items, i) => {
        const [first] = items;
        if (!first) return null;
        const what = items.length === 1 ? first.rule : plural(items.length, "check");
        return (
          <span key={first.rule}>
            {i > 0 && "; "}
            {what}{" "}
            {first.status === "not-applicable" && first.reason ? (
              <Prose text={`${items.length === 1 ? "does" : "do"} not apply: ${first.reason}`} />
            ) : (
              <Said outcome={first} />
            )}
          </span>
        );
      })}
      {byReason.size > 2 && ` and ${byReason.size - 2} more`}
    </span>
  );
}

function Said({ outcome: { status, reason } }: { outcome: CheckOutcome }) {
  const words =
    status === "could-not-check"
      ? "could not be checked"
      : status === "finding"
        ? "found something"
        : STATUS_WORDS[status];
  return <Prose text={reason ? `${words}: ${reason}` : words} />;
}
