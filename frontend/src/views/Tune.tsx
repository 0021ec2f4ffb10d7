/** Another value for one of the rule's options: what would change in this run, and the lines that set it. */

import { useSignal } from "@preact/signals";
import type { Finding, RejudgeResponse, RuleOption } from "../api/types";
import { step } from "../lib/format";
import { fetched, fetchedEvidence } from "../state/resources";
import { finding as chosen, run, saved, trial } from "../state/store";
import { rejudged } from "../state/trial";
import { SeverityIcon } from "./Icons";
import { CopyButton } from "./Prose";
import { Snippet } from "./Snippet";

export function Tune({ finding }: { finding: Finding }) {
  const picked = useSignal<string | null>(null);
  if (run.value === null) return null;
  const { rule } = finding;
  const known = fetched("rejudge", { run: run.value, rule }, { lane: "options" }).value.data?.options ?? [];
  const drawn = fetchedEvidence(run.value, chosen.value).value.data?.trial?.option;
  const tried = trial.value?.rule === rule ? trial.value : null;
  const wanted = tried?.option ?? picked.value ?? drawn;
  const option = known.find(({ name }) => name === wanted) ?? known[0];
  const { data, status, error } = rejudged.value;
  const outcome = tried && data?.tried && data.rule === rule ? data.tried : null;
  if (!option && !finding.snippet) return null;
  return (
    <>
      <Snippet code={outcome?.python ?? finding.snippet}>
        {option && (
          <Value
            option={option}
            options={known}
            value={tried?.value ?? option.value}
            pick={(name) => {
              picked.value = name;
              trial.value = null;
            }}
            change={(value) => {
              trial.value = value === option.value ? null : { rule, option: option.name, value };
            }}
          />
        )}
        {tried && (
          <button
            type="button"
            class="link"
            onClick={() => {
              trial.value = null;
            }}
          >
            Reset
          </button>
        )}
      </Snippet>
      {saved.value && (
        <p class="hint">
          Other thresholds cannot be tried here: a saved report has no server that could judge the run anew. In
          TensorBoard&apos;s NN Health tab the same log can be.
        </p>
      )}
      {tried && (
        <section class="tried" aria-label="What would change" aria-live="polite" aria-busy={status === "loading"}>
          {outcome ? <Outcome outcome={outcome} /> : <p>{error ?? "Judging anew"}</p>}
        </section>
      )}
    </>
  );
}

function Value({
  option,
  options,
  value,
  pick,
  change,
}: {
  option: RuleOption;
  options: readonly RuleOption[];
  value: number;
  pick: (name: string) => void;
  change: (value: number) => void;
}) {
  return (
    <span class="tune" title={option.help}>
      <select
        class="layers-select"
        aria-label="Option to try"
        value={option.name}
        onChange={(event) => pick(event.currentTarget.value)}
      >
        {options.map(({ name }) => (
          <option key={name} value={name}>
            {name}
          </option>
        ))}
      </select>
      <input
        type="number"
        step="any"
        aria-label={`Value of ${option.name} to try${option.unit === "1" ? "" : `, ${option.unit}`}`}
        value={Number(value.toPrecision(6))}
        onInput={(event) => {
          const typed = event.currentTarget.valueAsNumber;
          if (Number.isFinite(typed)) change(typed);
        }}
      />
    </span>
  );
}

function Outcome({ outcome }: { outcome: NonNullable<RejudgeResponse["tried"]> }) {
  return (
    <>
      <div>
        <p>
          <strong>{outcome.sentence}</strong>
        </p>
        <ul>
          {outcome.changes.map((change) => (
            <li key={`${change.subject} ${change.first_step}`}>
              <span class={`kind ${change.kind}`}>{change.kind}</span>
              <SeverityIcon severity={change.severity} />
              <code>{change.subject || "whole run"}</code>
              <span class="secondary">
                from step {step(change.first_step)}
                {change.was && change.was.first_step !== change.first_step && `, was ${step(change.was.first_step)}`}
                {change.was && change.was.severity !== change.severity && `, was ${change.was.severity}`}
              </span>
            </li>
          ))}
          {outcome.changes_left_out > 0 && <li>and {outcome.changes_left_out} more</li>}
        </ul>
      </div>
      <figure>
        <figcaption>
          nnhealth.toml
          <CopyButton text={() => outcome.toml} label="Copy for nnhealth.toml" />
        </figcaption>
        <pre>{outcome.toml}</pre>
      </figure>
    </>
  );
}
