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

const common = {
  absWorkingDir: here,
  bundle: true,
  format: "esm",
  target: ["es2022"],
  minify: true,
  jsx: "automatic",
  jsxImportSource: "preact",
  legalComments: "none",
  logLevel: "warning",
};
const tab = {
  ...common,
  entryPoints: { index: "src/main.ts" },
  outdir,
  splitting: true,
  chunkNames: "parts/[name]-[hash]",
  metafile: true,
};

/** What asks for the first page's data is left out, to come before everything else. */
const BEGIN = {
  name: "begin",
  setup: (one) => one.onResolve({ filter: /^\.\/begin$/ }, () => ({ path: "begin", external: true })),
};
/** What is fetched when a view is opened stays a file of its own. */
const LATER = {
  name: "later",
  setup: (one) =>
    one.onResolve({ filter: /./ }, ({ kind, path }) =>
      kind === "dynamic-import" ? { path: `./parts/${basename(path)}`, external: true } : undefined,
    ),
};

/**
 * Makes one module of the first page: the entry takes the chunk that it shares with the views opened later, and they
 * import from the entry. A chunk of its own would cost the first page a round trip.
 */
async function joinFirstPage(metafile) {
  const chunks = Object.keys(metafile.outputs)
    .map((path) => basename(path))
    .filter((name) => name.startsWith("chunk-"));
  if (chunks.length !== 1) throw new Error(`expected one chunk that is shared, found ${chunks.length}`);
  const [chunk] = chunks;
  const contents = `import "begin"; export { render } from "./index.js"; export * from "./parts/${chunk}";`;
  await build({
    ...common,
    stdin: { contents, resolveDir: outdir },
    outfile: join(outdir, "index.js"),
    allowOverwrite: true,
    alias: { begin: join(here, "src/begin.ts") },
    plugins: [LATER],
    footer: { js: `//! Licences of what is bundled: ${LICENCES}` },
  });
  rmSync(join(outdir, "parts", chunk));
  const later = readdirSync(join(outdir, "parts")).map((name) => join(outdir, "parts", name));
  for (const path of later) {
    writeFileSync(path, readFileSync(path, "utf8").replaceAll(`"./${chunk}"`, '"../index.js"'));
  }
  return later;
}

/** Bytes of the files as the plugin sends them. */
const zipped = (paths) =>
  paths.reduce((sum, path) => sum + gzipSync(readFileSync(resolve(here, path)), { level: 9 }).length, 0);
const kilobytes = (bytes) => (bytes / 1000).toFixed(1);

rmSync(join(outdir, "parts"), { recursive: true, force: true });
if (options.watch) {
  await (await context({ ...tab, sourcemap: "inline", minify: false })).watch();
} else {
  const { metafile } = await build({ ...tab, plugins: [BEGIN] });
  const later = await joinFirstPage(metafile);
  // A saved report is one file: its script is one too, and no module.
  await build({ ...common, entryPoints: { report: "src/report.tsx" }, outdir, format: "iife" });
  writeFileSync(join(outdir, LICENCES), licences(metafile).join("\n\n"));
  const size = zipped(["index.js", "index.css"].map((name) => join(outdir, name)));
  console.log(
    `the first page: ${kilobytes(size)} kB gzipped, of ${BUDGET / 1000}; later, in parts: ${kilobytes(zipped(later))}`,
  );
  if (size > BUDGET) {
    console.error(`The bundle is over its budget of ${BUDGET / 1000} kB gzipped.`);
    process.exit(1);
  }
}
