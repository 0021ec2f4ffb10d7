/** Rows of one height, of which only those in sight exist. */

import type { ComponentChildren, RefObject } from "preact";
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";

export interface Window {
  first: number;
  last: number;
}

/** Which of `count` rows are in sight of a scroller, with a few to spare. `keep` is scrolled into sight when it changes. */
export function useWindow(
  scroller: RefObject<HTMLElement>,
  count: number,
  height: number,
  keep = -1,
  header = 0,
): Window {
  const [view, setView] = useState({ top: 0, height: 900 });
  useEffect(() => {
    const element = scroller.current;
    if (!element) return undefined;
    const measure = () => setView({ top: element.scrollTop, height: element.clientHeight });
    const observer = new ResizeObserver(measure);
    observer.observe(element);
    element.addEventListener("scroll", measure, { passive: true });
    return () => {
      observer.disconnect();
      element.removeEventListener("scroll", measure);
    };
  }, []);
  useLayoutEffect(() => {
    const element = scroller.current;
    if (!element || keep < 0) return;
    const top = keep * height;
    const room = element.clientHeight - header;
    if (top < element.scrollTop) element.scrollTop = top;
    else if (top + height > element.scrollTop + room) element.scrollTop = top + height - room;
  }, [keep]);
  const first = Math.max(0, Math.min(Math.floor(view.top / height) - 4, count - 1));
  return { first, last: Math.min(count, Math.ceil((view.top + view.height) / height) + 4) };
}

interface Props<T> {
  items: readonly T[];
  rowHeight: number;
  label: string;
  keep?: number;
  name: (item: T) => string;
  children: (item: T, index: number) => ComponentChildren;
}

export function VirtualList<T>({ items, rowHeight, label, keep = -1, name, children }: Props<T>) {
  const scroller = useRef<HTMLDivElement>(null);
  const { first, last } = useWindow(scroller, items.length, rowHeight, keep);
  return (
    <div class="scroller" ref={scroller} tabIndex={-1}>
      {/* biome-ignore lint/a11y/noRedundantRoles: a list without bullets is none to Safari */}
      <ul role="list" aria-label={label} style={{ height: `${items.length * rowHeight}px` }}>
        {items.slice(first, last).map((item, i) => (
          <li
            key={name(item)}
            aria-setsize={items.length}
            aria-posinset={first + i + 1}
            style={{ top: `${(first + i) * rowHeight}px`, height: `${rowHeight}px` }}
          >
            {children(item, first + i)}
          </li>
        ))}
      </ul>
    </div>
  );
}
