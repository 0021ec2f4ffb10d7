/** "+ Add scalar": a list of the run's other tags, filtered by a regular expression. */

import { useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { standardScalars } from "../charts/stepRange";
import { smoothing, tags } from "../state/store";

/** A longer list is cut, and says so: the filter narrows it. */
const MOST = 200;

export function ScalarsPicker() {
  const open = useSignal(false);
  const wrapper = useRef<HTMLDivElement>(null);
  useEffect(() => {
    if (!open.value) return;
    const away = (event: PointerEvent) => {
      if (!wrapper.current?.contains(event.target as Node)) open.value = false;
    };
    const close = (event: KeyboardEvent) => {
      if (event.key !== "Escape") return;
      event.stopPropagation();
      open.value = false;
      wrapper.current?.querySelector("button")?.focus();
    };
    document.addEventListener("pointerdown", away);
    document.addEventListener("keydown", close, true);
    return () => {
      document.removeEventListener("pointerdown", away);
      document.removeEventListener("keydown", close, true);
    };
  }, [open.value]);
  const known = standardScalars.value.data?.tags ?? [];
  if (known.length === 0) return <div class="picker" />;
  return (
    <div class="picker" ref={wrapper}>
      <button
        type="button"
        class="picker-button"
        aria-expanded={open.value}
        aria-haspopup="dialog"
        onClick={() => {
          open.value = !open.value;
        }}
      >
        <svg width="12" height="12" viewBox="0 0 12 12" aria-hidden="true">
          <path d="M6 1v10M1 6h10" stroke="currentColor" stroke-width="1.6" />
        </svg>
        Add scalar
      </button>
      {open.value && <TagList known={known} />}
    </div>
  );
}

function TagList({ known }: { known: readonly string[] }) {
  const text = useSignal("");
  const input = useRef<HTMLInputElement>(null);
  useEffect(() => input.current?.focus(), []);
  const filter = expression(text.value);
  const matching = filter ? known.filter((tag) => filter.test(tag)) : [];
  const pick = (tag: string, on: boolean) => {
    tags.value = on ? [...tags.value, tag] : tags.value.filter((other) => other !== tag);
  };
  return (
    <div class="picker-list" role="dialog" aria-label="Scalars of this run">
      <input
        ref={input}
        type="text"
        placeholder="Filter tags (regex)"
        aria-label="Filter tags by regular expression"
        aria-invalid={filter === null}
        value={text.value}
        onInput={(event) => {
          text.value = event.currentTarget.value;
        }}
      />
      <div class="picker-tags">
        {matching.slice(0, MOST).map((tag) => (
          <label key={tag}>
            <input
              type="checkbox"
              checked={tags.value.includes(tag)}
              onChange={(event) => pick(tag, event.currentTarget.checked)}
            />
            <span title={tag}>{tag}</span>
          </label>
        ))}
        {filter === null && <p>This is not a regular expression yet.</p>}
        {filter && matching.length === 0 && <p>No tag matches.</p>}
        {matching.length > MOST && <p>{`and ${matching.length - MOST} more; filter to see them`}</p>}
      </div>
      <label class="picker-smoothing">
        Smoothing {smoothing.value.toFixed(2)}
        <input
          type="range"
          min="0"
          max="0.99"
          step="0.01"
          value={smoothing.value}
          onInput={(event) => {
            smoothing.value = event.currentTarget.valueAsNumber;
          }}
        />
      </label>
    </div>
  );
}

function expression(text: string): RegExp | null {
  try {
    return new RegExp(text, "i");
  } catch {
    return null;
  }
}
