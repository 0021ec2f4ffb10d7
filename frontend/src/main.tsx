/** Entry point: TensorBoard imports this module in the tab's frame and calls `render`. */

import { render as mount } from "preact";
import "./styles/index.css";
import { borrowFonts } from "./lib/fonts";
import { followTheme } from "./lib/theme";
import { chooseFirstRun } from "./state/actions";
import { lookAhead } from "./state/ahead";
import { followLocation } from "./state/location";
import { followReloads } from "./state/reload";
import { App } from "./views/App";
import { preloadParts } from "./views/parts";

/** The first page comes first. */
const PRELOAD_AFTER_MS = 2000;

function loadStyles(): Promise<void> {
  return new Promise((done) => {
    const link = document.createElement("link");
    link.rel = "stylesheet";
    link.href = new URL("./index.css", import.meta.url).href;
    link.onload = link.onerror = () => done();
    document.head.append(link);
  });
}

export async function render(): Promise<void> {
  document.documentElement.lang = "en";
  document.title = "NN Health";
  followTheme();
  borrowFonts();
  followLocation();
  chooseFirstRun();
  followReloads(); // asks for the runs while the styles load
  await loadStyles();
  const root = document.createElement("div");
  root.id = "app";
  document.body.replaceChildren(root);
  mount(<App />, root);
  lookAhead();
  setTimeout(preloadParts, PRELOAD_AFTER_MS);
}
