/** Prose with names in it, the finding as text, and the little of Python and Markdown that the tab has to show. */

import type { Finding, Piece, RunReport } from "../api/types";
import { place, SEVERITY_WORDS } from "./findings";
import { liveness, plural, step, steps } from "./format";

const escapeExpression = (text: string) => text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");

/** Splits prose at `code` and at known names, so that both can be set in monospace. */
export function pieces(prose: string, names: readonly string[] = []): Piece[] {
  const known = [...new Set(names)]
    .filter((name) => /[._/]/.test(name) || name.length > 3)
    .sort((a, b) => b.length - a.length);
  const name = known.length
    ? `|(?<![\\w./])(?:${known.map(escapeExpression).join("|")})(?:\\.[\\w.]*\\w)?(?![\\w/])`
    : "";
  const expression = new RegExp(`\`([^\`]+)\`${name}`, "g");
  const found: Piece[] = [];
  let at = 0;
  for (const match of prose.matchAll(expression)) {
    if (match.index > at) found.push({ text: prose.slice(at, match.index) });
    found.push({ code: match[1] ?? match[0] });
    at = match.index + match[0].length;
  }
  if (at < prose.length) found.push({ text: prose.slice(at) });
  return found;
}

/** Names that a finding's prose may mention. */
export function namesOf(finding: Finding): string[] {
  return [
    finding.subject,
    finding.layer ?? "",
    ...finding.layers,
    ...finding.subjects.map((item) => item.subject),
  ].filter(Boolean);
}

export const plain = (sentence: readonly Piece[]): string => sentence.map((piece) => piece.text ?? piece.code).join("");

/** One finding as text to paste into a message. */
export function findingText(finding: Finding, number: number): string {
  const lines = [
    `${number}. ${SEVERITY_WORDS[finding.severity]}: ${finding.title} (${finding.rule}) in ${place(finding)}, step ${steps(finding.first_step, finding.last_step)}`,
    `   ${finding.message}`,
    ...finding.advice.map((advice) => `   - ${advice}`),
  ];
  return lines.join("\n");
}

/** A run's verdict and findings as text. */
export function reportText(report: RunReport): string {
  const facts = [
    plural(report.layers, "layer"),
    `${step(report.steps)} steps`,
    report.optimizers.join(", "),
    liveness(report.last_wall, report.closed),
  ];
  return [
    `${report.run} (${facts.filter(Boolean).join(", ")})`,
    plain(report.sentence),
    ...(report.try_first ? [`Try first: ${report.try_first}`] : []),
    ...report.findings.map((finding, i) => `\n${findingText(finding, i + 1)}`),
  ].join("\n");
}

export type Token = { kind: "plain" | "string" | "number" | "comment"; text: string };

/** Tokens of one line of Python, enough to colour it. */
export function pythonTokens(code: string): Token[] {
  const expression = /("[^"]*"|'[^']*')|(#.*)|(?<![\w.])(\d[\w.+-]*)/g;
  const tokens: Token[] = [];
  let at = 0;
  for (const match of code.matchAll(expression)) {
    if (match.index > at) tokens.push({ kind: "plain", text: code.slice(at, match.index) });
    tokens.push({ kind: match[1] ? "string" : match[2] ? "comment" : "number", text: match[0] });
    at = match.index + match[0].length;
  }
  if (at < code.length) tokens.push({ kind: "plain", text: code.slice(at) });
  return tokens;
}

export type Block = { kind: "heading" | "paragraph" | "code"; text: string } | { kind: "list"; items: string[] };

/** The Markdown of rule pages as blocks: headings, paragraphs, lists, fenced code. Anything else stays text. */
export function blocks(markdown: string): Block[] {
  const found: Block[] = [];
  const sections = markdown.split(/^```\w*\n([\s\S]*?)^```$/m);
  for (const [i, section] of sections.entries()) {
    if (i % 2) found.push({ kind: "code", text: section.trimEnd() });
    else for (const part of section.split(/\n\s*\n/)) found.push(...block(part.trim()));
  }
  return found;
}

function block(part: string): Block[] {
  if (!part) return [];
  const heading = part.match(/^#{1,6} +(.*)(?:\n([\s\S]*))?$/);
  if (heading) return [{ kind: "heading", text: heading[1] ?? "" }, ...block((heading[2] ?? "").trim())];
  const underlined = part.match(/^(.+)\n[-=]{3,}(?:\n([\s\S]*))?$/);
  if (underlined) return [{ kind: "heading", text: underlined[1] ?? "" }, ...block((underlined[2] ?? "").trim())];
  if (/^(?:[-*]|\d+\.) /.test(part)) {
    return [
      {
        kind: "list",
        items: part
          .split(/\n(?=(?:[-*]|\d+\.) )/)
          .map((item) => item.replace(/^(?:[-*]|\d+\.) +/, "").replace(/\s*\n\s*/g, " ")),
      },
    ];
  }
  return [{ kind: "paragraph", text: part.replace(/\s*\n\s*/g, " ") }];
}
