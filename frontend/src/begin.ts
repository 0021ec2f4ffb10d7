/** What the first page waits for, asked for before the rest of this module is even evaluated: its styles, and the runs. */

import type { Begun } from "./api/client";

/** The run that the address names; "" where it names none, and so the one to begin with. */
function namedRun(): string {
  try {
    return decodeURIComponent(window.parent.location.hash.match(/[#&]p\.nnhealth\.run=([^&]*)/)?.[1] ?? "");
  } catch {
    return ""; // another origin, or no valid name
  }
}

function ask(): Begun {
  const runs = new URL(`runs?first=${encodeURIComponent(namedRun())}`, document.baseURI);
  const response = fetch(runs, { credentials: "same-origin", cache: "no-cache" });
  const body = response.then((answer) => answer.arrayBuffer());
  body.catch(() => undefined); // told where the answer is read
  return { response, body };
}

function style(): Promise<void> {
  const styles = document.createElement("link");
  styles.rel = "stylesheet";
  styles.href = new URL("./index.css", import.meta.url).href;
  document.head.append(styles);
  return new Promise((done) => {
    styles.onload = styles.onerror = () => done();
  });
}

export const listed = ask();
export const styled = style();
