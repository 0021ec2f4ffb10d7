/** A view whose code is fetched when it is first shown, so that the first page need not wait for it. */

import { signal } from "@preact/signals";
import type { ComponentType, JSX } from "preact";
import { Fault, Loading } from "./States";

export interface Lazy<P> {
  (props: P): JSX.Element;
  /** Fetches the code before anybody asks to see the view. */
  preload: () => Promise<void>;
}

/** `Meanwhile` stands in the view's place until its code is there, and where it cannot be had. */
export function lazy<P extends object>(
  what: string,
  load: () => Promise<ComponentType<P>>,
  Meanwhile?: ComponentType<P>,
): Lazy<P> {
  const view = signal<ComponentType<P> | null>(null);
  const fault = signal<string | null>(null);
  let under: Promise<void> | null = null;
  const preload = (): Promise<void> => {
    under ??= load().then(
      (loaded) => {
        view.value = loaded;
      },
      (error: unknown) => {
        under = null;
        fault.value = String(error);
      },
    );
    return under;
  };
  const retry = () => {
    fault.value = null;
    void preload();
  };
  function Lazily(props: P) {
    const View = view.value;
    if (View) return <View {...props} />;
    if (fault.value === null) void preload();
    if (Meanwhile) return <Meanwhile {...props} />;
    if (fault.value) return <Fault title={`${what} could not be loaded`} message={fault.value} retry={retry} />;
    return <Loading what={`Opening ${what}`} />;
  }
  return Object.assign(Lazily, { preload });
}
