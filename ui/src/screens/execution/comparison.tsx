/** What differs from the latest completed execution of the flow: in its data, or in those of one step. */
import { api } from "../../api/client";
import { useQuery } from "../../api/query";
import { to, withQuery } from "../../app/router";
import type { Detail, Step } from "../../execution/store";
import { bytes } from "../../parts/format";
import { Load, Time } from "../../parts/parts";
import { TextDiff } from "../../parts/text-diff";
import { comparison as texts } from "../../texts/comparison";

interface Data {
  input?: unknown;
  result?: unknown;
}

interface Found {
  id: string;
  at: string;
  /** Absent if the step has not run there. */
  before: string | undefined;
  after: string;
}

/** Longer texts are not compared: a page with them is slow. */
const MOST_LENGTH = 500_000;

export function Comparison({ detail: { id, flow_id: flow }, step }: { detail: Detail; step: Step | undefined }) {
  const found = useQuery(`${id} ${step?.step}`, async (signal): Promise<Found | undefined> => {
    const { executions } = await api.get("/api/v1/executions", { query: { flow_id: flow, status: "completed", limit: 2 }, signal });
    const other = executions.find((each) => each.id !== id);
    if (other === undefined) return undefined;
    const [before, after] = await Promise.all([dataOf(other.id, step?.step, signal), dataOf(id, step?.step, signal)]);
    return { id: other.id, at: other.started_at, before: before && written(before), after: written(after ?? {}) };
  });
  return (
    <section class="stack tight">
      <h3>{texts.compared}</h3>
      <Load query={found} rows={4}>{(data) => data === undefined ? <p class="muted">{texts.neverCompleted}</p> : <Shown {...data} step={step?.step} />}</Load>
    </section>
  );
}

function Shown({ id, at, before, after, step }: Found & { step: string | undefined }) {
  const longest = Math.max(before?.length ?? 0, after.length);
  return (
    <>
      <p class="muted small"><a class="link" href={withQuery(to(`/executions/${id}`), { step })}>{texts.lastSuccess} <Time at={at} /></a></p>
      {before === undefined ? <p class="muted">{texts.notThere}</p> : longest > MOST_LENGTH ? <p class="muted">{texts.tooLong(bytes(longest))}</p> : <TextDiff before={before} after={after} label={texts.compared} />}
    </>
  );
}

async function dataOf(id: string, step: string | undefined, signal: AbortSignal): Promise<Data | undefined> {
  if (step === undefined) {
    const { input, result } = await api.get("/api/v1/executions/{id}", { path: { id }, signal });
    return { input, result };
  }
  const { steps } = await api.get("/api/v1/executions/{id}/steps", { path: { id }, query: { step, limit: 1 }, signal });
  if (steps[0] === undefined) return undefined;
  const { input, result } = await api.get("/api/v1/executions/{id}/steps/{step_id}", { path: { id, step_id: steps[0].id }, signal });
  return { input, result };
}

function written(data: Data): string {
  return JSON.stringify(data, null, 2);
}
