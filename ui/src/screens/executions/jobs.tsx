/** What is done to many executions: how many they are, before; how far it is, after. */
import { useSignal, type Signal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { api, type Schemas } from "../../api/client";
import { useQuery } from "../../api/query";
import { to } from "../../app/router";
import { may, workspace } from "../../app/session";
import { Dialog } from "../../parts/dialog";
import { Field } from "../../parts/form";
import { Failure, Status } from "../../parts/parts";
import { useStart } from "../../parts/start";
import { useAction } from "../../parts/tools";
import { common } from "../../texts/common";
import { jobs as texts } from "../../texts/jobs";

/** Latest jobs among which running ones are looked for. */
const MOST_JOBS = 20;

export interface Batch {
  action: "rerun" | "cancel" | "delete";
  ids?: string[];
  filter?: Schemas["SelectExecutions"];
}

export function BatchDialog({ batch: asked, onStarted, onClose }: { batch: Batch; onStarted: (job: string) => void; onClose: () => void }) {
  const starting = useStart();
  const from = useSignal("");
  const isOfFailed = useSignal(false);
  const isTop = useSignal(false);
  const isRerun = asked.action === "rerun";
  // An execution that runs again starts its sub-flows again.
  const mayDouble = isRerun && asked.filter !== undefined && asked.filter.parent === undefined && asked.filter.parent_id === undefined;
  const selection: Batch = isTop.value ? { ...asked, filter: { ...asked.filter, parent: "none" } } : asked;
  const batch: Schemas["BatchBody"] = { ...selection, ...(isRerun && from.value && { from: from.value, ...(isOfFailed.value && { elements: "failed" as const }) }) };
  const plan = useQuery(JSON.stringify(selection), async (signal) => {
    return (await api.post("/api/v1/executions:batch", { query: { dry_run: true }, body: selection, signal })) as Schemas["PlannedJob"];
  });
  function start(): void {
    starting.run(batch, async (headers) => {
      const job = (await api.post("/api/v1/executions:batch", { body: batch, headers })) as Schemas["JobAnswer"];
      onStarted(job.id);
    });
  }
  const total = plan.data?.total;
  const scope = selection.ids !== undefined ? texts.onlySelected(selection.ids.length) : batch.action === "rerun" ? texts.allNotRerun : texts.allMatching;
  return (
    <Dialog
      title={texts.titles[batch.action]!}
      onClose={onClose}
      actions={<>
        <button class="btn" onClick={onClose}>{batch.action === "cancel" ? texts.keepRunning : common.cancel}</button>
        <button class={batch.action === "rerun" ? "btn primary" : "btn danger"} disabled={starting.busy || !total} onClick={start}>{texts.confirm[batch.action]!(total ?? 0)}</button>
      </>}
    >
      <p class="muted">{texts.hints[batch.action]} {scope}.</p>
      {isRerun && (
        <Field label={texts.from} hint={texts.fromHint}>
          {(id, note) => <input id={id} aria-describedby={note} maxLength={2000} spellcheck={false} value={from.value} onInput={({ currentTarget: { value } }) => (from.value = value.trim())} />}
        </Field>
      )}
      {isRerun && from.value && <label class="check"><input type="checkbox" checked={isOfFailed.value} onChange={({ currentTarget: { checked } }) => (isOfFailed.value = checked)} />{texts.onlyFailed}</label>}
      {mayDouble && <label class="check"><input type="checkbox" checked={isTop.value} onChange={({ currentTarget: { checked } }) => (isTop.value = checked)} />{texts.noSubFlows}</label>}
      {plan.error && <Failure error={plan.error} retry={plan.reload} />}
      {plan.data === undefined && !plan.error && <p class="muted">{texts.counting}</p>}
      {total === 0 && <p>{texts.none}</p>}
      {plan.data !== undefined && plan.data.executions.length > 0 && (
        <section class="stack tight">
          <h3>{texts.first}</h3>
          <ul class="stack tight">{plan.data.executions.slice(0, 5).map((each) => <li key={each.id} class="row"><Status of={each.status} /><span class="cut">{each.flow_name}</span></li>)}</ul>
        </section>
      )}
    </Dialog>
  );
}

/** The jobs of the workspace that run, whoever has started them, and those that have ended while they were watched. */
export function JobBars({ started, onChange }: { started: Signal<readonly string[]>; onChange: () => Promise<void> }) {
  const jobs = useQuery(`${workspace.value?.id}`, (signal) => api.get("/api/v1/jobs", { query: { limit: MOST_JOBS }, signal }), 10_000);
  useEffect(() => {
    const running = (jobs.data?.jobs ?? []).filter(({ status }) => status === "running").map(({ id }) => id);
    started.value = [...new Set([...started.peek(), ...running])];
  }, [jobs.data]);
  return <>{started.value.map((id) => <JobBar key={id} id={id} onChange={onChange} onClose={() => (started.value = started.peek().filter((each) => each !== id))} />)}</>;
}

/** The progress of a job, until it is dismissed. */
export function JobBar({ id, onChange, onClose }: { id: string; onChange: () => Promise<void>; onClose: () => void }) {
  const isOver = useSignal(false);
  const job = useQuery(id, (signal) => api.get("/api/v1/jobs/{id}", { path: { id }, signal }), isOver.value ? undefined : 1000);
  const { data } = job;
  const stopping = useAction();
  async function stop(): Promise<void> {
    await api.delete("/api/v1/jobs/{id}", { path: { id } });
    await job.reload();
  }
  useEffect(() => {
    if (data === undefined) return;
    isOver.value = data.status !== "running";
    void onChange();
  }, [data?.status, data?.done]);
  if (data === undefined) return null;
  const isStarting = data.type === "executions.rerun" || data.type === "triggers.backfill";
  const name = isOver.value ? texts.ended[data.status] : texts.names[data.type];
  const progress = texts.progress(data.done, data.total, isStarting);
  return (
    <div class="card padded stack tight" role="group" aria-label={name}>
      {/* Read aloud is its end alone, not each second. */}
      <span class="hidden" role="status">{isOver.value && `${name}, ${progress}`}</span>
      <div class="row">
        <b>{name}</b><span class="muted">{progress}</span>
        {data.failed > 0 && <span class="bad">{texts.failed(data.failed)}</span>}
        {isStarting && data.done > 0 && <a class="link" href={to("/executions", { job: id })}>{texts.started}</a>}
        <span class="row right">
          {!isOver.value && may("operator") && <button class="btn" disabled={stopping.busy} onClick={() => stopping.run(stop)}>{texts.stop}</button>}
          {isOver.value && <button class="btn quiet" onClick={onClose}>{texts.dismiss}</button>}
        </span>
      </div>
      <progress max={Math.max(1, data.total)} value={data.done + data.failed} aria-label={name} />
      {data.errors.slice(0, 3).map((error, i) => <span key={i} class="small muted">{error.message}</span>)}
    </div>
  );
}
