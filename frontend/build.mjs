// Bundles the tab into index.js and index.css, beside the plugin that serves them. Views that are not on the first
// page are fetched when they are opened, as modules in the folder parts. The saved report is report.js and report.css.
//   node build.mjs [--outdir DIR] [--watch]
import { readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { gzipSync } from "node:zlib";
import { build, context } from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const BUDGET = 60_000;
const LICENCES = "licences.txt";
const { values: options } = parseArgs({
  options: {
    outdir: { type: "string", default: join(here, "../tb_nnhealth/plugin/static") },
    watch: { type: "boolean", default: false },
  },
});
const outdir = resolve(options.outdir);

/** The licences of the packages whose code is in the bundle. */
function licences(metafile) {
  const packages = new Set();
  for (const path of Object.keys(metafile.inputs)) {
    const found = path.match(/node_modules\/((?:@[^/]+\/)?[^/]+)\//);
    if (found) packages.add(found[1]);
  }
  return [...packages].sort().map((name) => {
    const folder = join(here, "node_modules", name);
    const { version, license } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
    const file = readdirSync(folder).find((entry) => /^licen[cs]e/i.test(entry));
    if (!file) throw new Error(`${name} ${version} is bundled and has no licence file in ${folder}`);
    return `${name} ${version}, ${license}\n${readFileSync(join(folder, file), "utf8").trim()}\n`;
  });
}

const settings = {
  absWorkingDir: here,
  entryPoints: { index: "src/main.ts" },
  outdir,
  bundle: true,
  splitting: true,
  chunkNames: "parts/[name]-[hash]",
  format: "esm",
  target: ["es2022"],
  minify: true,
  jsx: "automatic",
  jsxImportSource: "preact",
  metafile: true,
  legalComments: "none",
  logLevel: "warning",
};

/** Outputs that the first page needs: the entry, the tab that it fetches, and all that this imports other than when a view is opened. */
function firstLoad(metafile) {
  const found = new Set();
  const add = (path) => {
    if (found.has(path)) return;
    found.add(path);
    for (const { path: next, kind } of metafile.outputs[path].imports) if (kind === "import-statement") add(next);
  };
  const outputs = Object.entries(metafile.outputs);
  const [entry, { cssBundle }] = outputs.find(([path]) => basename(path) === "index.js");
  const [tab] = outputs.find(([, output]) => output.entryPoint === "src/app.tsx");
  add(entry);
  add(tab);
  return [...found, cssBundle];
}

/** The entry with the names of the modules that it has the browser fetch at once. */
function withParts(text, parts) {
  const named = text.replace('"__PARTS__"', JSON.stringify(parts.join(" ")));
  if (named === text) throw new Error("expected the placeholder of the parts in index.js, found none");
  return named;
}

const zipped = (paths) => paths.reduce((sum, path) => sum + gzipSync(readFileSync(resolve(here, path))).length, 0);
const kilobytes = (bytes) => (bytes / 1000).toFixed(1);

rmSync(join(outdir, "parts"), { recursive: true, force: true });
if (options.watch) {
  await (await context({ ...settings, sourcemap: "inline", minify: false })).watch();
} else {
  const { metafile } = await build(settings);
  // A saved report is one file: its script is one too, and no module.
  await build({ ...settings, entryPoints: { report: "src/report.tsx" }, splitting: false, format: "iife" });
  const script = join(outdir, "index.js");
  writeFileSync(join(outdir, LICENCES), licences(metafile).join("\n\n"));
  const first = firstLoad(metafile);
  const parts = first.filter((path) => dirname(path).endsWith("parts")).map((path) => `./parts/${basename(path)}`);
  const entry = withParts(readFileSync(script, "utf8").trim(), parts);
  writeFileSync(script, `${entry}\n//! Licences of what is bundled: ${LICENCES}\n`);
  const later = Object.keys(metafile.outputs).filter((path) => !first.includes(path));
  const size = zipped(first);
  console.log(
    `the first page: ${kilobytes(size)} kB gzipped, of ${BUDGET / 1000}; later, in parts: ${kilobytes(zipped(later))}`,
  );
  if (size > BUDGET) {
    console.error(`The bundle is over its budget of ${BUDGET / 1000} kB gzipped.`);
    process.exit(1);
  }
}
