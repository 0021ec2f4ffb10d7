// Photographs every state of the tab, light and dark, from the mock server, and asks axe about each.
//   node dev/shots.mjs [--out DIR] [--only NAME] [--chromium PATH]
import { mkdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { chromium } from "playwright-core";
import { serve } from "./serve.mjs";

const { values: options } = parseArgs({
  options: {
    out: { type: "string", default: "../artifacts/shots" },
    only: { type: "string" },
    chromium: { type: "string", default: process.env.CHROMIUM ?? "/usr/bin/chromium" },
    width: { type: "string", default: "1600" },
    height: { type: "string" },
  },
});

const RUN = "#nnhealth&p.nnhealth.run=";
const SHOTS = [
  { name: "run", path: "default/" },
  { name: "finding-3", path: `default/${RUN}gpt-small%2Flr3e-3&p.nnhealth.finding=non-finite%40loss%2Ftrain` },
  { name: "tried", path: `default/${RUN}gpt-small%2Flr3e-3&p.nnhealth.try=update-ratio-too-high%3Amax%3A0.6` },
  { name: "layer", path: `default/${RUN}gpt-small%2Flr3e-3&p.nnhealth.layer=blocks.3.mlp.fc` },
  { name: "healthy", path: `default/${RUN}gpt-small%2Flr3e-4` },
  { name: "no-data", path: `default/${RUN}unet%2Fbaseline` },
  {
    name: "compare",
    path: `default/${RUN}gpt-small%2Flr3e-3&p.nnhealth.ticked=gpt-small%252Flr3e-3%2Cgpt-small%252Flr3e-4`,
  },
  { name: "overview", path: `sweep/${RUN}`, height: 1150 },
  { name: "many", path: "many/", height: 1000 },
  { name: "empty", path: "empty/#nnhealth", height: 1000 },
  { name: "scalars", path: "scalars/#nnhealth", height: 1000 },
  { name: "pending", path: "pending/", height: 1000 },
  { name: "partial", path: "partial/", height: 1000 },
  { name: "error", path: "error/", height: 800 },
  { name: "slow", path: "slow/", height: 800 },
];

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

/** Faults that axe finds in the tab's frame. */
async function barriers(page) {
  const frame = page.frames().find((item) => item.url().includes("plugin_entry"));
  await frame.evaluate(axe);
  const { violations } = await frame.evaluate(() => window.axe.run());
  return violations.map(
    (item) =>
      `${item.id}: ${item.nodes
        .slice(0, 3)
        .map((node) => `${node.target} ${node.any[0]?.message ?? ""}`)
        .join("; ")}`,
  );
}

mkdirSync(options.out, { recursive: true });
const server = await serve(0);
const address = `http://127.0.0.1:${server.address().port}/`;
const browser = await chromium.launch({ executablePath: options.chromium, args: ["--no-sandbox", "--disable-gpu"] });
let faults = 0;
for (const theme of ["light", "dark"]) {
  for (const shot of SHOTS) {
    if (options.only && !options.only.split(",").includes(shot.name)) continue;
    const size = { width: Number(options.width), height: Number(options.height ?? shot.height ?? 1740) };
    const page = await browser.newPage({ viewport: size });
    const say = (text) => {
      faults++;
      console.error(`${shot.name} (${theme}): ${text}`);
    };
    page.on("pageerror", (error) => say(error.message));
    page.on("console", (message) => {
      if (message.type() === "error" && shot.name !== "error") say(message.text());
    });
    if (theme === "dark")
      await page.addInitScript(() =>
        addEventListener("DOMContentLoaded", () => document.body.classList.add("dark-mode")),
      );
    await page.goto(address + shot.path);
    await page.waitForTimeout(1200);
    for (const barrier of await barriers(page)) say(barrier);
    await page.screenshot({ path: join(options.out, `${shot.name}-${theme}.png`) });
    await page.close();
  }
}
await browser.close();
server.closeAllConnections();
server.close();
process.exit(faults ? 1 : 0);
