import { render } from "preact";
import { act } from "preact/test-utils";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import { Sparkline } from "../../src/charts/Sparkline";
import { plotWidth } from "../../src/charts/stepRange";
import { cursor, findingKey, layer, range, run, theme } from "../../src/state/store";
import { EvidenceChart } from "../../src/views/EvidenceChart";
import { Layer } from "../../src/views/Layer";
import { Layers } from "../../src/views/Layers";
import { Scalars } from "../../src/views/Scalars";
import { type Served, serve } from "./server";

const RUN = "gpt-small/lr3e-3";
/** Waits as long as a busy machine needs. */
const eventually = <T,>(check: () => T): Promise<T> => vi.waitFor(check, 30_000);
let root: HTMLElement;

let server: Served;

async function show(view: preact.JSX.Element): Promise<void> {
  await act(() => render(view, root));
  await eventually(() => expect(root.querySelector("[aria-busy=true], .evidence-wait")).toBeNull());
}

beforeAll(async () => {
  server = await serve();
});
afterAll(() => server.stop());
beforeEach(() => {
  root = document.createElement("div");
  document.body.replaceChildren(root);
  run.value = RUN;
  plotWidth.value = 900;
});
afterEach(() => {
  render(null, root);
  run.value = layer.value = range.value = cursor.value = findingKey.value = null;
  theme.value = "light";
});

describe("Layers", () => {
  const loaded = () => eventually(() => expect(root.querySelectorAll("tbody tr")).toHaveLength(64));

  it("opens what the findings point at and says each row's worst value", async () => {
    await show(<Layers />);
    await loaded();
    const open = [...root.querySelectorAll(".group-name[aria-expanded=true]")].map((name) => name.textContent);
    expect(open).toEqual(["embed", "blocks.3"]);
    const row = [...root.querySelectorAll("tbody tr")].find((tr) => tr.textContent?.startsWith("blocks.3.mlp.fc"));
    expect(row?.textContent).toMatch(/too large, \d+× the healthy limit/);
    expect(row?.textContent).toContain("431–450");
  });

  it("moves the cursor by keys, opens the layer, and folds", async () => {
    await show(<Layers />);
    await loaded();
    const cells = root.querySelector(".heatmap-cells") as HTMLElement;
    const press = (key: string) =>
      act(() => void cells.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true })));
    await press("ArrowRight");
    await press("ArrowRight");
    expect(cursor.value).toBe(2);
    expect(root.querySelector(".tooltip code")?.textContent).toBe("embed.tok");
    await press("ArrowDown");
    expect(root.querySelector(".tooltip code")?.textContent).toBe("embed.proj");
    await press("-");
    expect(root.querySelector(".group-name")?.getAttribute("aria-expanded")).toBe("false");
    await press("Enter");
    expect(layer.value).toBe("embed.proj");
  });

  it("marks the onset of every finding and outlines the chosen one's cells", async () => {
    await show(<Layers />);
    await loaded();
    expect([...root.querySelectorAll(".onset")].map((mark) => mark.textContent)).toEqual(["5", "4", "1", "2", "3"]);
    expect(root.querySelectorAll(".outline")).toHaveLength(1);
    await act(() => (root.querySelectorAll(".onset")[1] as HTMLElement).click());
    expect(findingKey.value).toMatch(/^dead-units@/);
  });

  it("asks for the steps zoomed to, and shows all again", async () => {
    await show(<Layers />);
    await loaded();
    await act(() => {
      range.value = [100, 200];
    });
    await eventually(() => expect(server.asked.some((url) => /heatmap.*from=100&to=200/.test(url))).toBe(true));
    await eventually(() => expect(root.querySelector(".layers-subtitle")?.textContent).toContain("steps 100–200"));
  });
});

describe("Scalars", () => {
  it("reads the values at the cursor", async () => {
    await show(<Scalars />);
    await eventually(() => expect(root.querySelectorAll(".scalar")).toHaveLength(3));
    expect(root.querySelector(".scalar-values")?.textContent).toContain("NaN");
    await act(() => {
      cursor.value = 424;
    });
    expect(root.querySelector(".scalar-values")?.textContent).toMatch(/11\.\dtrain.*val, at 400/);
    expect(root.querySelector(".step-pill")?.textContent).toBe("424");
  });
});

describe("EvidenceChart", () => {
  it("says where the limit is crossed and how far", async () => {
    await show(<EvidenceChart run={RUN} finding={0} />);
    await eventually(() => expect(root.querySelector("canvas")).not.toBeNull());
    expect(root.querySelector("canvas")?.getAttribute("aria-label")).toMatch(
      /from step 398, crosses the limit at 413, worst 1\.\d at step 430/,
    );
    expect(root.querySelector(".evidence-legend")?.textContent).toContain("healthy, 2e-4 to 5e-3");
  });

  it("puts a sentence in place of a chart that there is no series for", async () => {
    await show(<EvidenceChart run={RUN} finding={99} />);
    await eventually(() =>
      expect(root.querySelector(".evidence-none")?.textContent).toBe(`no evidence for run "${RUN}"`),
    );
  });
});

describe("Layer", () => {
  it("shows facts, findings and four panels", async () => {
    layer.value = "blocks.3.mlp.fc";
    await show(<Layer />);
    await eventually(() => expect(root.querySelectorAll(".layer-panel")).toHaveLength(4));
    const facts = root.querySelector(".layer-facts")?.textContent;
    for (const fact of [
      "Linear",
      "3072 × 768",
      "bfloat16",
      "2,362,368",
      "AdamW 0, weight decay 0.1",
      "expected 0.018 to 0.026",
    ]) {
      expect(facts).toContain(fact);
    }
    expect(root.querySelector(".layer-title")?.textContent).toContain("update-ratio-too-high from step 398");
    expect(root.querySelector(".breadcrumb")?.textContent).toContain("blocks.3");
  });
});

describe("Sparkline", () => {
  it("draws finite runs, hatches the rest, and bears nothing at all", () => {
    render(<Sparkline steps={[0, 1, 2, 3]} values={[3, 2, Number.NaN, Number.NaN]} width={64} height={24} />, root);
    expect(root.querySelector(".line")?.getAttribute("d")?.match(/M/g)).toHaveLength(1);
    expect(root.querySelectorAll(".hatched")).toHaveLength(1);
    render(<Sparkline steps={[]} values={[]} width={64} height={24} />, root);
    expect(root.innerHTML).not.toMatch(/NaN|Infinity/);
    render(<Sparkline steps={[5]} values={[1]} width={64} height={24} />, root);
    expect(root.innerHTML).not.toMatch(/NaN|Infinity/);
  });
});
