/**
 * Keeps the tab's state in TensorBoard's address. The host's own interface for this answers nothing on a deep link,
 * so the parent's hash is read and written directly, where the parent can be reached.
 */

import { batch, effect, type Signal } from "@preact/signals";
import { RUN_SORTS, type RunSort } from "../lib/runs";
import { formatHash, isOurs, type Place, parseHash } from "../lib/url";
import {
  chosenStatistic,
  filter,
  findingKey,
  folds,
  layer,
  range,
  ratioShown,
  run,
  scalarsAnyway,
  settled,
  sort,
  tags,
  ticked,
  trial,
} from "./store";
import { turnTo } from "./turn";

function host(): Window | null {
  try {
    return window.parent.location.hash === undefined ? null : window.parent;
  } catch {
    return null; // another origin: a notebook's proxy
  }
}

export function here(): Place {
  return {
    run: run.value,
    finding: findingKey.value,
    statistic: chosenStatistic.value,
    range: range.value,
    layer: layer.value,
    ticked: [...ticked.value],
    tags: tags.value,
    trial: trial.value,
    ratio: ratioShown.value,
    folds: [...folds.value],
    filter: filter.value,
    sort: sort.value,
  };
}

/** Leaves a signal alone that holds an equal value already: whoever reads it would be at work for nothing. */
function put<T>(target: Signal<T>, value: T, content: (value: T) => unknown = (all) => all): void {
  const [now, next] = [target.peek(), value].map((held) => JSON.stringify(content(held)));
  if (now !== next) target.value = value;
}

export function go(place: Place): void {
  batch(() => {
    run.value = place.run;
    findingKey.value = place.finding;
    chosenStatistic.value = place.statistic;
    put(range, place.range);
    layer.value = place.run === null ? null : place.layer;
    put(ticked, new Set(place.ticked), (names) => [...names]);
    put(tags, place.tags);
    put(trial, place.trial);
    ratioShown.value = place.ratio;
    put(folds, new Map(place.folds), (groups) => [...groups]);
    filter.value = place.filter;
    sort.value = RUN_SORTS.find((item) => item === place.sort) ?? ("severity" satisfies RunSort);
  });
}

/** Reads the address, then follows and writes it. */
export function followLocation(): void {
  const parent = host();
  if (!parent) return;
  const read = () => {
    const hash = parent.location.hash;
    if (!isOurs(hash)) return; // another tab is shown
    const place = parseHash(hash);
    if (place) {
      turnTo(place.run, () => go(place));
    } else {
      write(parent, false); // TensorBoard dropped our part when tabs were switched
    }
  };
  const named = parseHash(parent.location.hash);
  if (named) {
    go(named);
    settled.value = true;
    scalarsAnyway.value = named.run !== null;
  }
  parent.addEventListener("popstate", read);
  parent.addEventListener("hashchange", read);
  window.addEventListener("pagehide", () => {
    parent.removeEventListener("popstate", read);
    parent.removeEventListener("hashchange", read);
  });

  let before = here();
  let wasSettled = settled.value;
  let timer = 0;
  effect(() => {
    const now = here();
    // A new run or layer is a new page, to which Back returns; everything else is an adjustment.
    const turned = wasSettled && (now.run !== before.run || now.layer !== before.layer);
    before = now;
    wasSettled = settled.value;
    clearTimeout(timer);
    if (turned) write(parent, true);
    else timer = window.setTimeout(() => write(parent, false), 200); // browsers limit how often the address may change
  });
}

function write(parent: Window, push: boolean): void {
  const hash = formatHash(here());
  try {
    if (!isOurs(parent.location.hash) || parent.location.hash === hash) return;
    const url = `${parent.location.pathname}${parent.location.search}${hash}`;
    if (push) parent.history.pushState(parent.history.state, "", url);
    else parent.history.replaceState(parent.history.state, "", url);
  } catch {
    // The address is a convenience: without it the tab works as before.
  }
}
