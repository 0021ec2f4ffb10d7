import { expect, it } from "vitest";
import { fontAddress } from "../../src/lib/fonts";

const ROOT = new URL("http://host/some/where/");
const FONT = "/font-roboto/a.woff2";

it("finds a font named from the server's root under the path prefix", () => {
  expect(fontAddress(FONT, "http://host/some/where/", ROOT)).toBe("http://host/some/where/font-roboto/a.woff2");
  expect(fontAddress(FONT, "http://host/", new URL("http://host/"))).toBe("http://host/font-roboto/a.woff2");
});

it("leaves an address under the prefix, or of another server, as it is", () => {
  expect(fontAddress("font-roboto/a.woff2", ROOT.href, ROOT)).toBe("http://host/some/where/font-roboto/a.woff2");
  expect(fontAddress("https://other/a.woff2", ROOT.href, ROOT)).toBe("https://other/a.woff2");
});
