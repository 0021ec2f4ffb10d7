/** The line that tunes or silences a rule. */

import type { ComponentChildren } from "preact";
import type { Finding } from "../api/types";
import { CopyButton, Python } from "./Prose";

export function Snippet({ code, children }: { code: string; children?: ComponentChildren }) {
  return (
    <div class="snippet">
      <h3 class="small">Tune or silence</h3>
      {children}
      <div class="code">
        <Python code={code} />
        <CopyButton text={() => code} label="Copy the line" />
      </div>
    </div>
  );
}

export const PlainTune = ({ finding }: { finding: Finding }) =>
  finding.snippet ? <Snippet code={finding.snippet} /> : null;
