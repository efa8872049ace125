/** What differs from another execution of the flow, its latest completed one by itself: in its data, or in those of one step. */
import { api } from "../../api/client";
import { useQuery } from "../../api/query";
import { location, setQuery, to, withQuery } from "../../app/router";
import { readable, type Turns } from "../../execution/names";
import { paramsOf } from "../../execution/params";
import type { Detail, Step } from "../../execution/store";
import { bytes, moment, now, shortId } from "../../parts/format";
import { Load, Time } from "../../parts/parts";
import { TextDiff } from "../../parts/text-diff";
import { statuses } from "../../texts/common";
import { comparison as texts } from "../../texts/comparison";

export interface CompareProps {
  detail: Detail;
  step?: Step;
  /** Other runs of the node of the step. */
  runs?: readonly Step[];
  turns?: Turns;
}

interface Data {
  input?: unknown;
  params?: unknown;
  result?: unknown;
}

interface Found {
  id: string;
  step?: string | undefined;
  at: string;
  /** Absent if the step has not run there. */
  before: string | undefined;
  after: string;
}

/** Longer texts are not compared: a page with them is slow. */
const MOST_LENGTH = 500_000;
/** Executions to choose from; the address may name any other. */
const MOST = 100;

export function Comparison({ detail: { id, flow_id: flow }, step, runs = [], turns }: CompareProps) {
  const against = location.value.query.get("against") || undefined;
  const list = useQuery(flow, (signal) => api.get("/api/v1/executions", { query: { flow_id: flow, limit: MOST }, signal }));
  const others = (list.data?.executions ?? []).filter((each) => each.id !== id);
  const run = runs.find((each) => each.step === against);
  // Names of steps have dots. One that is left is that of a step that was shown before.
  const execution = against?.includes(".") ? undefined : against;
  const found = useQuery(`${id} ${step?.step} ${against}`, async (signal): Promise<Found | null> => {
    if (run !== undefined) {
      const [before, after] = await Promise.all([run, step].map((each) => dataOf(id, each?.step, signal)));
      return { id, step: run.step, at: run.started_at, before: before && written(before), after: written(after ?? {}) };
    }
    const other = execution ?? (await api.get("/api/v1/executions", { query: { flow_id: flow, status: "completed", limit: 2 }, signal })).executions.find((each) => each.id !== id)?.id;
    if (other === undefined) return null;
    const [whole, before, after] = await Promise.all([
      api.get("/api/v1/executions/{id}", { path: { id: other }, query: { view: "summary" }, signal }), dataOf(other, step?.step, signal), dataOf(id, step?.step, signal),
    ]);
    return { id: other, at: whole.started_at, before: before && written(before), after: written(after ?? {}) };
  });
  return (
    <section class="stack tight">
      <div class="row">
        <h3>{texts.compared}</h3>
        <select class="compact" aria-label={texts.against} value={run?.step ?? execution ?? ""} onChange={(event) => setQuery({ against: event.currentTarget.value || undefined })}>
          <option value="">{texts.lastSuccess}</option>
          {execution !== undefined && !others.some((each) => each.id === execution) && <option value={execution}>{shortId(execution)}</option>}
          {runs.slice(0, MOST).map(({ step: name }) => <option key={name} value={name}>{readable(name, turns)}</option>)}
          {others.map(({ id: other, status, started_at: at }) => <option key={other} value={other}>{moment(at, now.value)} · {statuses[status] ?? status}</option>)}
        </select>
      </div>
      <Load query={found} rows={4}>{(data) => data === null ? <p class="muted">{texts.neverCompleted}</p> : <Shown step={step?.step} {...data} />}</Load>
    </section>
  );
}

function Shown({ id, at, before, after, step }: Found) {
  const longest = Math.max(before?.length ?? 0, after.length);
  return (
    <>
      <p class="muted small"><a class="link" href={withQuery(to(`/executions/${id}`), { step })}>{texts.of} <Time at={at} /></a></p>
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
  const path = { id, step_id: steps[0].id };
  const [{ input, result }, params] = await Promise.all([api.get("/api/v1/executions/{id}/steps/{step_id}", { path, signal }), paramsOf(path, signal)]);
  return { input, params, result };
}

function written(data: Data): string {
  return JSON.stringify(data, null, 2);
}
