/** Text of the server on the page, with names in monospace. Only ever text nodes. */

import { useState } from "preact/hooks";
import type { Piece } from "../api/types";
import { copy } from "../lib/export";
import { blocks, pieces, pythonTokens } from "../lib/text";
import { Icon } from "./Icons";

export function Pieces({ of }: { of: readonly Piece[] }) {
  return <>{of.map((piece, i) => (piece.code === undefined ? piece.text : <code key={i}>{piece.code}</code>))}</>;
}

export function Prose({ text, names = [] }: { text: string; names?: readonly string[] }) {
  return <Pieces of={pieces(text, names)} />;
}

export function CopyButton({ text, label, children }: { text: () => string; label: string; children?: string }) {
  const [state, setState] = useState<"idle" | "done" | "failed">("idle");
  const onClick = async () => {
    setState((await copy(text())) ? "done" : "failed");
    setTimeout(() => setState("idle"), 2000);
  };
  const said = state === "done" ? "Copied" : state === "failed" ? "Could not copy" : null;
  return (
    <button
      type="button"
      class={children ? "button" : "icon-button"}
      aria-label={children ? undefined : label}
      title={label}
      onClick={onClick}
    >
      <Icon name={state === "done" ? "done" : "copy"} size={16} />
      {children && <span>{said ?? children}</span>}
      <span class="hidden" role="status">
        {said}
      </span>
    </button>
  );
}

/** Python with its strings, numbers and comments told apart. */
export function Python({ code }: { code: string }) {
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: a long line scrolls
    <code class="python" tabIndex={0}>
      {pythonTokens(code).map((token, i) =>
        token.kind === "plain" ? (
          token.text
        ) : (
          <span key={i} class={token.kind}>
            {token.text}
          </span>
        ),
      )}
    </code>
  );
}

/** Paths differ at their ends: a long one loses its middle. */
export function Path({ name }: { name: string }) {
  const end = name.length > 16 ? Math.max(name.lastIndexOf(".", name.length - 6), name.length - 12) : name.length;
  return (
    <code class="path">
      <span>{name.slice(0, end)}</span>
      <span>{name.slice(end)}</span>
    </code>
  );
}

/** A rule's page. */
export function Markdown({ text }: { text: string }) {
  return (
    <div class="markdown">
      {blocks(text).map((block, i) => {
        if (block.kind === "heading") return <h3 key={i}>{block.text}</h3>;
        if (block.kind === "code") return <pre key={i}>{block.text}</pre>;
        if (block.kind === "list")
          return (
            <ul key={i}>
              {block.items.map((item, j) => (
                <li key={j}>
                  <Prose text={item} />
                </li>
              ))}
            </ul>
          );
        return (
          <p key={i}>
            <Prose text={block.text} />
          </p>
        );
      })}
    </div>
  );
}
