/** When to fetch again: TensorBoard's reload, runs that are still being judged, and the tab becoming visible. */

import { effect } from "@preact/signals";
import { takeKeys } from "../lib/focus";
import { refetch, reloads } from "./resources";
import { runs, visible } from "./store";

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

export function followReloads(): void {
  let missed = false;
  listenForReload(() => {
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
