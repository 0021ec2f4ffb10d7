import { expect, it } from "vitest";
import { csv } from "../../src/lib/export";

it("quotes what a comma, quote or line would break", () => {
  expect(
    csv(
      ["a", "b"],
      [
        ['say "x", y', 1.5],
        ["two\nlines", null],
      ],
    ),
  ).toBe('a,b\r\n"say ""x"", y",1.5\r\n"two\nlines",\r\n');
});

it("hands a spreadsheet no formula, and numbers as they are", () => {
  expect(csv(["run"], [["=HYPERLINK(1)"], ["@x"], [-3]])).toBe("run\r\n'=HYPERLINK(1)\r\n'@x\r\n-3\r\n");
});
