// Serves the built tab in a frame like TensorBoard's, with the fixtures as its data.
//   node dev/serve.mjs [--port 6100]        http://localhost:6100/SCENARIO/
// Scenarios: default, sweep, many, empty, scalars, pending, partial, stale, error, slow.
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { answer, cleanse } from "./routes.mjs";

const STATIC = new URL("../../tb_nnhealth/plugin/static/", import.meta.url);
/** As TensorBoard 2.21 sends it, less its own scripts. */
const POLICY =
  "default-src 'self'; font-src 'self' data:; img-src 'self' data: blob:; style-src 'self' data: 'unsafe-inline'; connect-src 'self'; script-src 'self' 'unsafe-inline'; object-src 'none'";

const HOST = `<!doctype html><meta charset="utf-8"><title>TensorBoard</title>
<style>body{margin:0;height:100vh;display:flex;flex-direction:column;font-family:Roboto,sans-serif}
header{background:#f57c00;color:#fff;height:64px;flex:none;display:flex;align-items:center;padding:0 24px;font-size:20px;font-weight:500}
.dark-mode header{background:#ef6c00}iframe{border:0;flex:1}</style>
<body><header>TensorBoard</header><iframe title="NN Health" src="data/plugin_entry.html?name=nnhealth"></iframe></body>`;
const ENTRY = `<!doctype html><meta charset="utf-8"><base href="plugin/nnhealth/"><body><script type="module">import("./index.js").then((m) => void m.render());</script></body>`;
const TYPES = { js: "text/javascript", css: "text/css" };

async function respond(request, response) {
  const url = new URL(request.url, "http://localhost");
  const [, scenario = "", ...rest] = url.pathname.split("/");
  const path = rest.join("/");
  const send = (status, type, body) => {
    response.writeHead(status, {
      "content-type": `${type}; charset=utf-8`,
      "content-security-policy": POLICY,
      "cache-control": "no-cache",
    });
    response.end(body);
  };
  if (!scenario) return response.writeHead(302, { location: "/default/" }).end();
  if (path === "") return send(200, "text/html", HOST);
  if (path === "data/plugin_entry.html") return send(200, "text/html", ENTRY);
  const route = path.replace("data/plugin/nnhealth/", "");
  const file = route.match(/^(?:index|parts\/[\w-]+)\.(js|css)$/);
  if (file) return send(200, TYPES[file[1]], readFileSync(new URL(route, STATIC)));
  if (scenario === "slow") await new Promise((done) => setTimeout(done, 60_000));
  if (scenario === "error")
    return send(
      500,
      "text/plain",
      "The log directory /home/ada/runs cannot be read: permission denied. Check its owner and reload.",
    );
  const found = answer(scenario, route, url.searchParams);
  if (found === null) return send(404, "text/plain", `no ${route} for run "${url.searchParams.get("run")}"`);
  return send(200, "application/json", JSON.stringify(found, cleanse));
}

export function serve(port) {
  const server = createServer((request, response) => {
    respond(request, response).catch((error) => {
      console.error(error);
      response.writeHead(500, { "content-type": "text/plain" }).end(String(error));
    });
  });
  return new Promise((done) => server.listen(port, "127.0.0.1", () => done(server)));
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { values } = parseArgs({ options: { port: { type: "string", default: "6100" } } });
  const server = await serve(Number(values.port));
  console.log(`http://localhost:${server.address().port}/default/`);
}
