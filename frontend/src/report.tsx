/** Entry point of a saved report: the tab's views over the replies that its page holds. */

import { render as mount } from "preact";
import "./styles/saved.css";
import { answerFrom } from "./api/client";
import { embedded, type Saved } from "./api/embedded";
import { DARK, followTheme } from "./lib/theme";
import { chooseFirstRun } from "./state/actions";
import { followLocation } from "./state/location";
import { saved, scalarsAnyway } from "./state/store";
import { App } from "./views/App";
import { SavedBar } from "./views/SavedBar";

const held = JSON.parse(document.getElementById("nnhealth-replies")?.textContent ?? "") as Saved;
saved.value = true;
scalarsAnyway.value = true;
answerFrom(embedded(held));
if (!location.hash.startsWith("#nnhealth")) history.replaceState(null, "", "#nnhealth");
document.body.classList.toggle(DARK, matchMedia("(prefers-color-scheme: dark)").matches);
followTheme();
followLocation();
chooseFirstRun();
const root = document.createElement("div");
root.id = "app";
document.body.replaceChildren(root);
mount(
  <div class="saved">
    <SavedBar saved={held} />
    <div class="saved-page">
      <App />
    </div>
  </div>,
  root,
);
