/** The ranks of a distributed job side by side: who is slow, whose weights have drifted, who sees rank 0's batches. */

import type { RankRow, RanksResponse } from "../api/types";
import { Sparkline } from "../charts/Sparkline";
import { number, percent, plural, step } from "../lib/format";
import { fetched } from "../state/resources";
import { run } from "../state/store";
import { SeverityIcon } from "./Icons";

/** As the rule about stragglers has it by default: from here on a rank is shown as slow. */
const SLOW = 1.8;

export function Ranks() {
  if (run.value === null) return null;
  const { data, error } = fetched("ranks", { run: run.value }, { lane: "ranks" }).value;
  if (!data) return error ? <p class="card chart-note">{error}</p> : null;
  if (!data.ranks.length) return null;
  const unlike = data.ranks.filter((row) => row.unlike);
  const slow = data.ranks.filter((row) => (row.times ?? 0) >= SLOW);
  const same = data.ranks.filter((row, i) => i > 0 && row.same_batch === 1);
  const words = [
    unlike.length ? `${plural(unlike.length, "rank")} with weights unlike rank 0's` : "weights alike",
    slow.length ? `${plural(slow.length, "slow rank")}` : "",
    same.length ? `${plural(same.length, "rank")} with rank 0's batches` : "",
    data.ranks_left_out ? `${data.ranks_left_out} more not shown` : "",
  ];
  return (
    <section class="card compare ranks" aria-label="Ranks">
      <header>
        <h2>Ranks</h2>
        <span class="secondary">{[plural(data.ranks.length, "rank"), ...words].filter(Boolean).join(" · ")}</span>
      </header>
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: it scrolls */}
      <div class="compare-body" tabIndex={0}>
        <table>
          <thead>
            <tr>
              <th scope="col">Rank</th>
              <th scope="col">Loss</th>
              <th scope="col" class="number">
                Last
              </th>
              <th scope="col">Own time of a step</th>
              <th scope="col" class="number">
                Median
              </th>
              <th scope="col" class="number">
                Of the others
              </th>
              <th scope="col">Weights</th>
              <th scope="col">Batches</th>
            </tr>
          </thead>
          <tbody>
            {data.ranks.map((row) => (
              <Row key={row.rank} row={row} steps={data.steps} />
            ))}
          </tbody>
        </table>
      </div>
    </section>
  );
}

function Row({ row, steps }: { row: RankRow; steps: RanksResponse["steps"] }) {
  const slow = (row.times ?? 0) >= SLOW;
  return (
    <tr>
      <th scope="row">{row.rank}</th>
      <td>
        <Line steps={steps} values={row.loss_over_steps} />
      </td>
      <td class="number">{known(row.loss)}</td>
      <td>
        <Line steps={steps} values={row.seconds_over_steps} />
      </td>
      <td class="number">{row.seconds === null ? "–" : `${number(row.seconds)} s`}</td>
      <td class="number">
        {slow && <SeverityIcon severity="warning" />} {row.times === null ? "–" : `${number(row.times)}×`}
      </td>
      <td>
        {row.unlike ? (
          <>
            <SeverityIcon severity="critical" /> {percent(row.unlike)} unlike rank 0's from step{" "}
            {step(row.unlike_from ?? 0)}
            {row.parameter !== null && (
              <>
                , first <code>{row.parameter}</code>
              </>
            )}
          </>
        ) : row.unlike === null ? (
          "–"
        ) : (
          "alike"
        )}
      </td>
      <td>{batches(row)}</td>
    </tr>
  );
}

const known = (value: number | null): string => (value === null ? "–" : number(value));

function batches({ rank, same_batch }: RankRow): string {
  if (same_batch === null) return "–";
  if (rank === "0" || same_batch === 0) return "its own";
  return same_batch === 1 ? "those of rank 0" : `${percent(same_batch)} those of rank 0`;
}

function Line({ steps, values }: { steps: readonly number[]; values: Float32Array }) {
  if (!values.some(Number.isFinite)) return <>–</>;
  return <Sparkline steps={steps} values={[...values]} width={120} height={20} />;
}
