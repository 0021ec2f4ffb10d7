/** Ticked runs beside the one in focus: which findings are new, gone or common. */

import type { Finding, RunReport } from "../api/types";
import { place } from "../lib/findings";
import { step } from "../lib/format";
import { toggleTick } from "../state/actions";
import { fetched } from "../state/resources";
import { comparing, keyOf, others, runReport } from "../state/store";
import { Icon, SeverityIcon } from "./Icons";

const MOST = 6;

export interface Comparison {
  finding: Finding;
  /** The finding in each run, null where the run has none such. */
  found: (Finding | null)[];
  kind: "common" | "new" | "gone" | "some";
}

/** Findings of several runs side by side; the first report is the one in focus. */
export function compare(reports: readonly RunReport[]): Comparison[] {
  const byKey = new Map<string, (Finding | null)[]>();
  for (const [i, report] of reports.entries()) {
    for (const finding of report.findings) {
      const found = byKey.get(keyOf(finding)) ?? reports.map(() => null);
      found[i] = finding;
      byKey.set(keyOf(finding), found);
    }
  }
  return [...byKey.values()].flatMap((found) => {
    const finding = found.find((item) => item !== null);
    if (!finding) return [];
    const count = found.filter(Boolean).length;
    const kind = count === found.length ? "common" : !found[0] ? "gone" : count === 1 ? "new" : "some";
    return [{ finding, found, kind } satisfies Comparison];
  });
}

export function Compare() {
  const focus = runReport.value;
  if (!focus) return null;
  if (!comparing.value) return null;
  const answers = others.value
    .slice(0, MOST - 1)
    .map((name) => ({ name, answer: fetched("report", { run: name }).value }));
  const reports = [focus, ...answers.flatMap(({ answer }) => (answer.data ? [answer.data.run] : []))];
  const rows = compare(reports);
  return (
    <section class="card compare" aria-label="Comparison of findings">
      <header>
        <h2>Compared</h2>
        <span class="secondary">
          findings by run, with the step each began at; new: in {focus.run} alone
          {others.value.length >= MOST && `; the first ${MOST} of ${others.value.length + 1} runs`}
        </span>
      </header>
      <div class="compare-body">
        <table>
          <thead>
            <tr>
              <th>Finding</th>
              <th>Where</th>
              {reports.map((report, i) => (
                <th key={report.run} class="number">
                  {report.run}
                  {i > 0 && (
                    <button
                      type="button"
                      class="icon-button"
                      aria-label={`Compare ${report.run} no longer`}
                      onClick={() => toggleTick(report.run)}
                    >
                      <Icon name="close" size={14} />
                    </button>
                  )}
                </th>
              ))}
              <th>In</th>
            </tr>
          </thead>
          <tbody>
            {rows.map(({ finding, found, kind }) => (
              <tr key={keyOf(finding)}>
                <td>
                  <SeverityIcon severity={finding.severity} /> {finding.rule}
                </td>
                <td>
                  <code>{place(finding)}</code>
                </td>
                {found.map((item, i) => (
                  <td key={reports[i]?.run} class="number">
                    {item ? step(item.first_step) : "–"}
                  </td>
                ))}
                <td class="secondary">{kind}</td>
              </tr>
            ))}
            {rows.length === 0 && (
              <tr>
                <td colSpan={reports.length + 3}>No finding in any of them.</td>
              </tr>
            )}
          </tbody>
        </table>
      </div>
      {answers.map(
        ({ name, answer }) =>
          answer.status === "error" && (
            <p key={name}>
              {name}: {answer.error}
            </p>
          ),
      )}
    </section>
  );
}
