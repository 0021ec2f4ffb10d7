/** A frame does not inherit its parent's fonts: TensorBoard's own faces are declared again from its style sheets. */

import { fontsArrived } from "../state/store";

export function borrowFonts(): void {
  const rules: string[] = [];
  try {
    for (const sheet of window.parent.document.styleSheets) rules.push(...faces(sheet));
  } catch {
    return; // another origin: the system's fonts do
  }
  if (!rules.length) return;
  const sheet = new CSSStyleSheet(); // a style element would be refused by a content policy without 'unsafe-inline'
  sheet.replaceSync(rules.join("\n"));
  document.adoptedStyleSheets.push(sheet);
  document.fonts.addEventListener("loadingdone", () => fontsArrived.value++);
}

function faces(sheet: CSSStyleSheet): string[] {
  let list: CSSRuleList;
  try {
    list = sheet.cssRules;
  } catch {
    return []; // a sheet from elsewhere
  }
  const root = new URL(".", window.parent.document.baseURI);
  return [...list]
    .filter((rule) => rule.constructor.name === "CSSFontFaceRule" && isUsed((rule as CSSFontFaceRule).style))
    .map((rule) =>
      rule.cssText.replace(
        /url\((["']?)(?!data:)([^"')]+)\1\)/g,
        (_, __, path: string) => `url("${fontAddress(path, sheet.href ?? root.href, root)}")`,
      ),
    );
}

/** The weights that our style sheets name. */
const WEIGHTS: ReadonlySet<string> = new Set(["400", "500", "700", "normal", "bold"]);

function isUsed(face: CSSStyleDeclaration): boolean {
  const [family, weight, style] = ["font-family", "font-weight", "font-style"].map((name) =>
    face.getPropertyValue(name),
  );
  return /Roboto/i.test(family ?? "") && style !== "italic" && (!weight || weight.includes(" ") || WEIGHTS.has(weight));
}

/** TensorBoard names its fonts from the server's root, where it does not serve them under a path prefix. */
export function fontAddress(path: string, base: string, root: URL): string {
  const address = new URL(path, base);
  const elsewhere = address.origin !== root.origin || address.pathname.startsWith(root.pathname);
  return elsewhere ? address.href : new URL(`.${address.pathname}${address.search}`, root).href;
}
