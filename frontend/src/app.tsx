/** The tab itself, begun with the answers that the entry point has asked for. */

import { render as mount } from "preact";
import { answerRunsWith, type Begun } from "./api/client";
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

/** `listed`: the answer to `runs`; `styled`: when the styles are there. */
export async function start(listed: Begun, styled: Promise<void>): Promise<void> {
  document.documentElement.lang = "en";
  document.title = "NN Health";
  answerRunsWith(listed);
  followTheme();
  borrowFonts();
  followLocation();
  chooseFirstRun();
  followReloads(); // reads the runs
  await styled;
  const root = document.createElement("div");
  root.id = "app";
  document.body.replaceChildren(root);
  mount(<App />, root);
  lookAhead();
  setTimeout(preloadParts, PRELOAD_AFTER_MS);
}
