/** Entry point: TensorBoard imports this module in the tab's frame and calls `render`. */

import { render as mount } from "preact";
import "./styles/index.css";
import { followTheme } from "./lib/theme";
import { App } from "./views/App";

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
  await loadStyles();
  const root = document.createElement("div");
  root.id = "app";
  document.body.replaceChildren(root);
  mount(<App />, root);
}
