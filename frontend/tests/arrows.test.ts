import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";

const SOURCE = join(__dirname, "../src");

/** Imports of a folder's files that lead into other folders, as "folder/file: other". */
function arrows(folder: string): string[] {
  return readdirSync(join(SOURCE, folder))
    .filter((file) => /\.tsx?$/.test(file))
    .flatMap((file) =>
      [...readFileSync(join(SOURCE, folder, file), "utf8").matchAll(/from "\.\.\/(\w+)\//g)].map(
        ([, other]) => `${folder}/${file}: ${other}`,
      ),
    );
}

it.each(["api", "lib", "state", "charts"])("%s imports nothing of the views", (folder) => {
  expect(arrows(folder).filter((arrow) => arrow.endsWith(": views"))).toEqual([]);
});

it("sees the imports that there are", () => {
  expect(arrows("views").length).toBeGreaterThan(50);
});
