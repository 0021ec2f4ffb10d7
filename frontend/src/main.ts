/**
 * Entry point: TensorBoard imports this module in the tab's frame and calls `render`. The frame shares its thread with TensorBoard's own page,
 * which is busy while a tab opens, and each round trip waits for it: so the first page is one module, and what it needs is asked for at once.
 */

import "./styles/index.css";
import { start } from "./app";
import { listed, styled } from "./begin";

export const render = (): Promise<void> => start(listed, styled);
