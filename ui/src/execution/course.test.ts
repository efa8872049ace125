import { expect, test } from "vitest";
import { courseOf, kindsAfter } from "./course";
import type { EventMessage } from "./stream";

let seq = 0;
function event(fields: Partial<EventMessage>): EventMessage {
  return { type: "execution_update", seq: ++seq, timestamp: "2026-01-01T00:00:00Z", ...fields };
}

const starts = (step: string) => event({ step, attempt: 1, status: "running" });
const ends = (step: string) => event({ type: "node_completed", step });

test("what ran has the colour of how it ended, with pauses and waits between", () => {
  const events = [
    event({}),
    starts("fetch.1"),
    ends("fetch.1"),
    starts("push.1"),
    event({ step: "push.1", error: "503", retry_at: "2026-01-01T00:00:01Z" }),
    starts("push.1"),
    event({ step: "push.1", waiting_for: { type: "approval" } }),
    event({ step: "push.1", error: "no" }),
    event({ type: "execution_failed", status: "failed" }),
  ];
  expect(kindsAfter(events)).toEqual(["queued", "completed", "queued", "failed", "retry", "completed", "waiting", "failed", "failed"]);
});

test("of what runs side by side, a failure is seen first, and a loop shows what is in it", () => {
  const events = [
    starts("each.1"),
    event({ step: "each.1", scopes: 2 }),
    starts("each.1[0]/a.1"),
    starts("each.1[1]/a.1"),
    ends("each.1[0]/a.1"),
    event({ step: "each.1[1]/a.1", error: "no" }),
    event({ step: "each.1", error: "no" }),
  ];
  expect(kindsAfter(events)).toEqual(["completed", "queued", "completed", "failed", "failed", "queued", "queued"]);
});

test("what had not ended was cancelled, if the execution has ended", () => {
  const running = [event({}), starts("a.1"), event({ type: "log" })];
  expect(kindsAfter(running)).toEqual(["queued", "completed", "completed"]);
  expect(kindsAfter([...running, event({ type: "execution_completed", status: "cancelled" })])).toEqual(["queued", "cancelled", "cancelled", "cancelled"]);
});

test("the same steps of two executions are apart", () => {
  const [a, b] = [{ ...starts("a.1"), seq: 1 }, { ...starts("a.1"), seq: 100 }];
  const events = [a, b, { ...ends("a.1"), seq: 2 }, event({ seq: 3 })];
  expect(kindsAfter(events, ({ seq: number }) => (number >= 100 ? "child" : ""))).toEqual(["completed", "completed", "completed", "completed"]);
});

test("a course joins what is alike, and keeps a failure among thousands of events", () => {
  expect(courseOf(["queued", "completed", "completed", "failed"])).toEqual([
    { kind: "queued", from: 0, to: 1 },
    { kind: "completed", from: 1, to: 3 },
    { kind: "failed", from: 3, to: 4 },
  ]);
  const long = courseOf(Array.from({ length: 5000 }, (_, i) => (i === 3333 ? "failed" : i % 2 === 0 ? "completed" : "queued")));
  expect(long.map(({ kind }) => kind)).toEqual(["completed", "failed", "completed"]);
  expect(long[0]!.from).toBe(0);
  expect(long.at(-1)!.to).toBe(5000);
});
