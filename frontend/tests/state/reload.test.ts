import { afterEach, expect, it, vi } from "vitest";
import { listenForReload } from "../../src/state/reload";
import { settle } from "./server";

afterEach(() => vi.restoreAllMocks());

it("speaks the host's protocol: announces itself, hears reloads, answers every message", async () => {
  let port: MessagePort | undefined;
  vi.spyOn(window.parent, "postMessage").mockImplementation(((message: string, _: string, ports: MessagePort[]) => {
    expect(message).toBe("experimental.bootstrap");
    port = ports[0];
  }) as typeof window.postMessage);
  let reloads = 0;
  listenForReload(() => reloads++);
  const replies: unknown[] = [];
  if (!port) throw new Error("no port was handed over");
  port.onmessage = (event) => replies.push(JSON.parse(event.data as string));
  const send = (type: string, id: number) =>
    port?.postMessage(JSON.stringify({ type, id, payload: null, error: null, isReply: false }));
  send("experimental.DataReloaded", 1);
  send("experimental.RunsChanged", 2);
  await settle();
  expect(reloads).toBe(1);
  expect(replies).toEqual([
    { type: "experimental.DataReloaded", id: 1, payload: null, error: null, isReply: true },
    { type: "experimental.RunsChanged", id: 2, payload: null, error: null, isReply: true },
  ]);
  port.close();
});
