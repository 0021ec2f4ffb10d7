import { expect, it, vi } from "vitest";
import type { Answer, Parameters, Route } from "../../src/api/client";
import { together } from "../../src/api/together";

type Ask = (parameters: Parameters, signal: AbortSignal) => Promise<Answer<unknown>>;

function served(joint?: Ask) {
  const alone = vi.fn(
    async (route: Route, parameters: Parameters): Promise<Answer<unknown>> => ({
      ok: true,
      data: `${route} of ${parameters.run} alone`,
    }),
  );
  const jointly = vi.fn<Ask>(
    joint ??
      (async ({ of, run }) => ({
        ok: true,
        data: Object.fromEntries((of as string[]).map((route) => [route, `${route} of ${run}`])),
      })),
  );
  return { alone, jointly, ask: together(alone, jointly) };
}

const data = (answer: Answer<unknown>) => answer.ok && answer.data;

it("asks in one request what is asked in one moment", async () => {
  const { alone, jointly, ask } = served();
  const answers = await Promise.all([
    ask("report", { run: "a" }),
    ask("heatmap", { run: "a", statistic: "s", from: null, columns: 9 }),
    ask("scalars", { run: "a", tag: [], from: null, points: 5 }),
  ]);
  expect(answers.map(data)).toEqual(["report of a", "heatmap of a", "scalars of a"]);
  expect(jointly).toHaveBeenCalledTimes(1);
  expect(jointly.mock.calls[0]?.[0]).toEqual({
    of: ["report", "heatmap", "scalars"],
    run: "a",
    statistic: "s",
    from: null,
    columns: 9,
    tag: [],
    points: 5,
  });
  expect(alone).not.toHaveBeenCalled();
});

it("asks alone what nothing goes with", async () => {
  const { alone, jointly, ask } = served();
  const asked = [
    ask("report", { run: "a" }),
    ask("report", { run: "b" }), // another run
    ask("evidence", { run: "a", finding: 0 }), // another kind of question
  ];
  await Promise.all(asked);
  await ask("model", { run: "a" }); // another moment
  expect(alone).toHaveBeenCalledTimes(4);
  expect(jointly).not.toHaveBeenCalled();
});

it("never mixes two values of one parameter", async () => {
  const { jointly, ask } = served();
  await Promise.all([
    ask("heatmap", { run: "a", from: 1 }),
    ask("scalars", { run: "a", from: 2 }),
    ask("model", { run: "a" }),
    ask("report", { run: "a" }),
  ]);
  expect(jointly.mock.calls.map(([parameters]) => [parameters.of, parameters.from])).toEqual([
    [["heatmap", "model", "report"], 1],
  ]);
});

it("has each ask for itself where the common answer is a fault", async () => {
  const { alone, ask } = served(async () => ({ ok: false, status: 404, message: "no scalar x" }));
  const answers = await Promise.all([ask("report", { run: "a" }), ask("scalars", { run: "a", tag: ["x"] })]);
  expect(answers.map(data)).toEqual(["report of a alone", "scalars of a alone"]);
  expect(alone).toHaveBeenCalledTimes(2);
});

it("goes on for the others where one is no longer wanted, and stops when none is", async () => {
  let begun: AbortSignal | undefined;
  let answer: (reply: Answer<unknown>) => void = () => undefined;
  const { ask } = served((_, signal) => {
    begun = signal;
    return new Promise((done) => {
      answer = done;
    });
  });
  const [one, other] = [new AbortController(), new AbortController()];
  const heatmap = ask("heatmap", { run: "a" }, one.signal);
  const scalars = ask("scalars", { run: "a" }, other.signal);
  await Promise.resolve();
  one.abort();
  await expect(heatmap).rejects.toThrow();
  expect(begun?.aborted).toBe(false);
  answer({ ok: true, data: { heatmap: 1, scalars: 2 } });
  expect(data(await scalars)).toBe(2);

  const last = new AbortController();
  const both = [ask("heatmap", { run: "a" }, last.signal), ask("scalars", { run: "a" }, last.signal)];
  await Promise.resolve();
  last.abort();
  for (const asked of both) await expect(asked).rejects.toThrow();
  expect(begun?.aborted).toBe(true);
});

it("asks for nothing that was given up before it was sent", async () => {
  const { alone, jointly, ask } = served();
  const abort = new AbortController();
  const asked = ask("report", { run: "a" }, abort.signal);
  abort.abort();
  await expect(asked).rejects.toThrow();
  expect(alone).not.toHaveBeenCalled();
  expect(jointly).not.toHaveBeenCalled();
});
