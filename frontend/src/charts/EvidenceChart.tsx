/** The series that made a finding, with its limit and healthy band. `finding` is its index in the report of `run`. */
export function EvidenceChart(_: { run: string; finding: number }) {
  return <figure class="evidence" />;
}
