import { render } from "preact";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import type { Finding, Preflight, ReportResponse, RunReport } from "../../src/api/types";
import { Checks } from "../../src/views/Checks";
import { FindingCard } from "../../src/views/FindingCard";
import { Markdown } from "../../src/views/Prose";
import { Verdict } from "../../src/views/Verdict";
import criticalFixture from "../fixtures/report-critical.json";
import healthyFixture from "../fixtures/report-healthy.json";
import { serve } from "../state/server";

const critical = (criticalFixture as unknown as ReportResponse).run;
const healthy = (healthyFixture as unknown as ReportResponse).run;
const HOSTILE = `<img src=x onerror="alert(1)">.mlp`;
const root = document.createElement("div");

beforeEach(() => {
  serve();
  document.body.append(root);
});
afterEach(() => {
  render(null, root);
  vi.unstubAllGlobals();
});

const words = () => root.textContent ?? "";

it("says what, where and since when, and draws the chain with its steps", () => {
  render(<Verdict report={critical} />, root);
  expect(root.querySelector("h1")?.textContent).toMatch(/^Updates in blocks\.3\.mlp are too large from step 398;/);
  expect(root.querySelector("h1 code")?.textContent).toBe("blocks.3.mlp");
  expect([...root.querySelectorAll(".chip strong")].map((item) => item.textContent)).toEqual([
    "update-ratio-too-high",
    "398",
    "exploding-activations",
    "412",
    "non-finite",
    "431",
  ]);
  expect(words()).toContain("+14 steps");
  expect(words()).toContain("+19 steps");
  expect(words()).not.toContain("Closest to a limit");
});

it("tells of a healthy run what came closest", () => {
  render(<Verdict report={healthy} />, root);
  expect(words()).toContain(
    "Closest to a limit: gradient norm reached 62 % of its limit at step 1,204, in blocks.7.attn.",
  );
  expect(root.querySelector(".chip")).toBeNull();
});

it("takes names from strangers for text", () => {
  const finding: Finding = {
    ...(critical.findings[0] as Finding),
    subject: HOSTILE,
    message: `The optimizer changed ${HOSTILE} a lot.`,
    why: HOSTILE,
    advice: [HOSTILE],
    rule_page: HOSTILE,
    references: [{ title: HOSTILE, url: "javascript:alert(1)" }],
  };
  const report: RunReport = {
    ...critical,
    run: HOSTILE,
    sentence: [{ code: HOSTILE }],
    findings: [finding],
    chain: [0],
  };
  render(
    <>
      <Verdict report={report} />
      <FindingCard report={report} finding={finding} index={0} />
      <Markdown text={`# ${HOSTILE}\n\n- ${HOSTILE}`} />
    </>,
    root,
  );
  expect(words().split(HOSTILE).length).toBeGreaterThan(8);
  expect(root.querySelector("img")).toBeNull();
  const links = [...root.querySelectorAll("a")].map((link) => link.getAttribute("href"));
  expect(links).toEqual([`report_html?run=${encodeURIComponent(HOSTILE)}`]);
});

it("says of each group of checks what did not pass, and why", () => {
  render(<Checks checks={healthy.checks} open />, root);
  const rows = [...root.querySelectorAll(".check-group")].map((row) => row.textContent);
  expect(rows[0]).toBe("Gradientsall passed");
  expect(rows.find((row) => row?.startsWith("Loss"))).toContain(
    "overfitting could not be checked: log a validation loss",
  );
  expect(rows.find((row) => row?.startsWith("Weights"))).toContain("does not apply: no convolution in this model");
});

it("shows the checks before training first, and says which failed", () => {
  const preflight: Preflight = {
    ok: false,
    checks: [
      { id: "chance-loss", status: "pass", message: "The first loss is 2.3.", advice: [] },
      { id: "batch-leak", status: "fail", message: HOSTILE, advice: ["Transpose."] },
      { id: "causality", status: "skip", message: "causal=True asks for it", advice: [] },
    ],
  };
  render(<Checks checks={healthy.checks} preflight={preflight} open />, root);
  const row = root.querySelector(".check-group");
  expect(row?.querySelector("dt")?.textContent).toBe("Before training");
  expect(row?.querySelector(".squares")?.getAttribute("aria-label")).toBe("1 passed, 1 failed, 1 could not check");
  expect(row?.textContent).toContain(`batch-leak failed: ${HOSTILE}`);
  expect(row?.textContent).toContain("causality could not be checked: causal=True asks for it");
  expect(root.querySelector("header")?.textContent).toContain("1 failed");
});

it("names, while folded, the one thing to log that would check the most", () => {
  render(
    <Checks
      checks={{
        ...healthy.checks,
        could_not_check: [
          { rule: "a", needs: "log a validation loss" },
          { rule: "b", needs: "pass criterion= to watch()" },
          { rule: "c", needs: "pass criterion= to watch()" },
        ],
      }}
      open={false}
    />,
    root,
  );
  expect(root.querySelector(".check-hint")?.textContent).toBe("To check b and c, pass criterion= to watch()");
});
