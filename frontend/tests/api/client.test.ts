import { afterEach, describe, expect, it, vi } from "vitest";
import { address, get } from "../../src/api/client";

afterEach(() => vi.unstubAllGlobals());

const answering = (body: BodyInit, init: ResponseInit) => {
  const fetch = vi.fn(async (_url: URL, _init: RequestInit) => new Response(body, init));
  vi.stubGlobal("fetch", fetch);
  return fetch;
};

it("escapes parameters, repeats lists and leaves out what is missing", () => {
  expect(address("scalars", { run: "a b/c&d", tag: ["x", "y"], from: 0, to: null })).toBe(
    "scalars?run=a+b%2Fc%26d&tag=x&tag=y&from=0",
  );
  expect(address("runs")).toBe("runs");
});

describe("get", () => {
  it("asks relative to the document", async () => {
    const fetch = answering('{"runs": []}', { headers: { "content-type": "application/json" } });
    expect(await get("runs", {})).toEqual({ ok: true, data: { runs: [] } });
    expect(String(fetch.mock.calls[0]?.[0])).toBe(new URL("runs", document.baseURI).href);
  });

  it("hands on the server's sentence", async () => {
    answering("no run x; there are a and b\n", {
      status: 404,
      headers: { "content-type": "text/plain; charset=utf-8" },
    });
    expect(await get("report", { run: "x" })).toEqual({
      ok: false,
      status: 404,
      message: "no run x; there are a and b",
    });
  });

  it("shows no page of HTML as a sentence", async () => {
    answering("<h1>Internal Server Error</h1>", { status: 500, headers: { "content-type": "text/html" } });
    const answer = await get("runs", {});
    expect(answer).toMatchObject({ ok: false, status: 500 });
    expect(JSON.stringify(answer)).not.toContain("<h1>");
  });

  it("says that an answer could not be read", async () => {
    answering('{"runs": [', { headers: { "content-type": "application/json" } });
    expect(await get("runs", {})).toMatchObject({ ok: false, status: 200, message: expect.stringContaining('"runs"') });
  });

  it("says that nobody answers", async () => {
    vi.stubGlobal("fetch", () => Promise.reject(new TypeError("Failed to fetch")));
    expect(await get("runs", {})).toMatchObject({ ok: false, status: 0 });
  });

  it("throws when aborted", async () => {
    const abort = new AbortController();
    abort.abort();
    vi.stubGlobal("fetch", () => Promise.reject(new DOMException("aborted", "AbortError")));
    await expect(get("runs", {}, abort.signal)).rejects.toThrow("aborted");
  });
});
