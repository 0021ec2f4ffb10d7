/** The development server in a process of its own, answering `fetch` with its seeded data. */

import { spawn } from "node:child_process";
import { get } from "node:http";
import { vi } from "vitest";

export interface Served {
  /** Every address asked for, in order. */
  asked: string[];
  stop(): void;
}

export async function serve(): Promise<Served> {
  const child = spawn(process.execPath, ["dev/serve.mjs", "--port", "0"], { stdio: ["ignore", "pipe", "inherit"] });
  const base = await new Promise<string>((done, fail) => {
    child.stdout.once("data", (line) => done(String(line).trim()));
    child.once("exit", (code) => fail(new Error(`dev/serve.mjs ended with status ${code}`)));
  });
  const asked: string[] = [];
  vi.stubGlobal("fetch", (url: URL) => {
    const route = `${url.pathname.split("/").at(-1)}${url.search}`;
    asked.push(route);
    return answered(`${base}data/plugin/nnhealth/${route}`);
  });
  return {
    asked,
    stop() {
      child.removeAllListeners("exit");
      child.kill();
      vi.unstubAllGlobals();
    },
  };
}

/** The test's own fetch belongs to its made-up browser, which asks for permission across origins. */
function answered(address: string): Promise<Response> {
  return new Promise((done, fail) => {
    get(address, (response) => {
      let body = "";
      response.setEncoding("utf8");
      response.on("data", (part) => {
        body += part;
      });
      response.on("end", () => {
        const headers = { "content-type": response.headers["content-type"] ?? "" };
        done(new Response(body, { status: response.statusCode ?? 500, headers }));
      });
    }).on("error", fail);
  });
}
