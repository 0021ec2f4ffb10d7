/**
 * Entry point: TensorBoard imports this module in the tab's frame and calls `render`. The frame shares its thread with TensorBoard's own page,
 * which is busy while a tab opens, and each round trip waits for it: so all that the first page needs is asked for here at once.
 */

import "./styles/index.css";

/** What `app.tsx` imports; the build puts the names in. */
const PARTS = "__PARTS__".split(" ");

/** The run that the address names; "" where it names none, and so the one to begin with. */
function namedRun(): string {
  try {
    return decodeURIComponent(window.parent.location.hash.match(/[#&]p\.nnhealth\.run=([^&]*)/)?.[1] ?? "");
  } catch {
    return ""; // another origin, or no valid name
  }
}

function link(rel: string, path: string): HTMLLinkElement {
  const element = document.createElement("link");
  element.rel = rel;
  element.href = new URL(path, import.meta.url).href;
  document.head.append(element);
  return element;
}

export async function render(): Promise<void> {
  const runs = new URL(`runs?first=${encodeURIComponent(namedRun())}`, document.baseURI);
  const response = fetch(runs, { credentials: "same-origin", cache: "no-cache" });
  const body = response.then((answer) => answer.arrayBuffer());
  body.catch(() => undefined); // told where the answer is read
  const styles = link("stylesheet", "./index.css");
  const styled = new Promise<void>((done) => {
    styles.onload = styles.onerror = () => done();
  });
  for (const part of PARTS) link("modulepreload", part);
  const { start } = await import("./app");
  await start({ response, body }, styled);
}
