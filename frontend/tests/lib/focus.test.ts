import { afterEach, describe, expect, it, vi } from "vitest";
import { takeKeys } from "../../src/lib/focus";

/** A page around the tab, of which `holder` has the focus. */
function within(holder: Partial<HTMLElement> | null, hasFocus = true): { takes: () => boolean } {
  const host = { body: document.body, activeElement: holder, hasFocus: () => hasFocus };
  vi.spyOn(window, "parent", "get").mockReturnValue({ document: host } as unknown as Window & typeof globalThis);
  const focus = vi.spyOn(window, "focus").mockImplementation(() => {});
  return {
    takes: () => {
      focus.mockClear();
      takeKeys();
      return focus.mock.calls.length > 0;
    },
  };
}

const element = (visible: boolean) => ({ matches: (selector: string) => selector === ":focus-visible" && visible });

afterEach(() => vi.restoreAllMocks());

describe("the keyboard", () => {
  it("is taken from nobody, and from what was clicked", () => {
    expect(within(document.body).takes()).toBe(true);
    expect(within(null).takes()).toBe(true);
    expect(within(element(false)).takes()).toBe(true);
  });

  it("is left to who types or goes through the page by keys, and to another page", () => {
    expect(within(element(true)).takes()).toBe(false);
    expect(within(document.body, false).takes()).toBe(false);
  });

  it("is no matter where there is no page around, or it cannot be reached", () => {
    expect(() => takeKeys()).not.toThrow();
    vi.spyOn(window, "parent", "get").mockImplementation(() => {
      throw new DOMException("another origin");
    });
    expect(() => takeKeys()).not.toThrow();
  });
});
