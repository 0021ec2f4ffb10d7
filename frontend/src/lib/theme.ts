/** Follows TensorBoard's light and dark switch, for which it has no interface: the parent's body carries a class. */

import { effect } from "@preact/signals";
import { theme } from "../state/store";
import { customProperties } from "./palette";

export const DARK = "dark-mode";

/** The element whose class says which theme TensorBoard shows; null where the parent cannot be reached. */
function host(): HTMLElement | null {
  try {
    return window.parent.document.body;
  } catch {
    return null; // another origin: a notebook's proxy
  }
}

export function followTheme(): void {
  const body = host();
  const read = () => {
    theme.value = body?.classList.contains(DARK) ? "dark" : "light";
  };
  read();
  if (body) new MutationObserver(read).observe(body, { attributes: true, attributeFilter: ["class"] });
  effect(() => {
    const root = document.documentElement;
    for (const [name, value] of customProperties(theme.value)) root.style.setProperty(name, value);
    root.classList.toggle("dark", theme.value === "dark");
    root.style.colorScheme = theme.value;
  });
}
