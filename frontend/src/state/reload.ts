/** When to fetch again: TensorBoard's reload, runs that are still being judged, and the tab becoming visible. */

import { effect, untracked } from "@preact/signals";
import { takeKeys } from "../lib/focus";
import { refetch, reloads } from "./resources";
import { run, runs, ticked, visible } from "./store";

interface Message {
  type: string;
  id: number;
  payload: unknown;
  error: string | null;
  isReply: boolean;
}

/** TensorBoard's experimental plugin protocol: JSON strings over a port; the host waits for a reply to each. */
export function listenForReload(onReload: () => void): void {
  const { port1, port2 } = new MessageChannel();
  port1.onmessage = (event: MessageEvent<string>) => {
    const message = JSON.parse(event.data) as Message;
    if (message.isReply) return;
    if (message.type === "experimental.DataReloaded") onReload();
    const reply: Message = { type: message.type, id: message.id, payload: null, error: null, isReply: true };
    port1.postMessage(JSON.stringify(reply));
  };
  window.parent.postMessage("experimental.bootstrap", "*", [port2]);
}

/** The server answers at once, and judges on. */
const POLL_MS = 400;

const versions = (): Map<string, number> =>
  new Map(runs.value.data?.runs.map((item) => [item.run, item.version ?? 0]) ?? []);

/**
 * Fetches once more what is shown of runs that were judged since TensorBoard's last reload: until then the server
 * answers with what it said of them before. Returns what to call at a reload.
 */
function followJudging(): () => void {
  let before: Map<string, number> | null = null;
  effect(() => {
    const now = versions();
    if (!now.size) return;
    if (before === null) before = now;
    const known = before;
    const judged = [run.value, ...ticked.value].filter(
      (name) => name !== null && known.has(name) && known.get(name) !== now.get(name),
    );
    for (const name of judged) if (name !== null) known.delete(name);
    if (judged.length) reloads.value = reloads.peek() + 1;
  });
  return () => {
    before = untracked(versions);
  };
}

export function followReloads(): void {
  let missed = false;
  const onReload = followJudging();
  listenForReload(() => {
    onReload();
    if (visible.value) reloads.value++;
    else missed = true;
  });
  const measure = () => {
    const before = visible.value;
    visible.value = window.innerHeight > 0; // TensorBoard hides a tab by taking its height
    if (visible.value && !before) takeKeys();
    if (visible.value && missed) {
      missed = false;
      reloads.value++;
    }
  };
  measure();
  if (visible.value) takeKeys();
  window.addEventListener("resize", measure);

  effect(() => {
    const { pending = 0, judging = 0 } = runs.value.data ?? {};
    if (!(pending || judging) || runs.value.status === "loading" || !visible.value) return undefined;
    const timer = setTimeout(() => refetch("runs"), POLL_MS);
    return () => clearTimeout(timer);
  });
}
