/** Starts what a schedule has left out in a period that is over: how often, before; how far it is, after. */
import { useSignal } from "@preact/signals";
import { api, type Schemas } from "../../api/client";
import { useQuery } from "../../api/query";
import { Field } from "../../parts/form";
import { present } from "../../parts/format";
import { Failure, Time } from "../../parts/parts";
import { localMinute } from "../../parts/period";
import { useStart } from "../../parts/start";
import { triggers as texts } from "../../texts/triggers";
import { JobBar } from "../executions/jobs";
import type { Trigger } from "./parts";

export function Backfill({ trigger, reload }: { trigger: Trigger; reload: () => Promise<void> }) {
  const isOpen = useSignal(false);
  const job = useSignal<string | undefined>(undefined);
  if (job.value !== undefined) return <JobBar id={job.value} onChange={reload} onClose={() => (job.value = undefined)} />;
  if (!isOpen.value) return <div><button class="btn" onClick={() => (isOpen.value = true)}>{texts.backfill}</button></div>;
  return <Period trigger={trigger} onStarted={(id) => (job.value = id)} />;
}

function Period({ trigger: { id }, onStarted }: { trigger: Trigger; onStarted: (job: string) => void }) {
  const from = useSignal(localMinute(new Date(present() - 86_400_000).toISOString()));
  const to = useSignal(localMinute(new Date(present()).toISOString()));
  const starting = useStart();
  const isPeriod = from.value !== "" && to.value !== "" && from.value < to.value;
  const body = () => ({ from: new Date(from.value).toISOString(), to: new Date(to.value).toISOString() });
  const plan = useQuery(`${id} ${from.value} ${to.value}`, async (signal) => {
    if (!isPeriod) return undefined;
    return (await api.post("/api/v1/triggers/{id}/backfill", { path: { id }, query: { dry_run: true }, body: body(), signal })) as Schemas["PlannedBackfill"];
  });
  function start(): void {
    starting.run(body(), async (headers) => {
      const made = (await api.post("/api/v1/triggers/{id}/backfill", { path: { id }, body: body(), headers })) as Schemas["JobAnswer"];
      onStarted(made.id);
    });
  }
  return (
    <section class="card padded stack">
      <p class="muted small">{texts.backfillHint}</p>
      <div class="row">
        <Field label={texts.from}>{(field) => <input id={field} type="datetime-local" value={from.value} onInput={(event) => (from.value = event.currentTarget.value)} />}</Field>
        <Field label={texts.to}>{(field) => <input id={field} type="datetime-local" value={to.value} onInput={(event) => (to.value = event.currentTarget.value)} />}</Field>
      </div>
      {!isPeriod && <p class="bad small">{texts.noPeriod}</p>}
      {plan.error && <Failure error={plan.error} retry={plan.reload} />}
      {isPeriod && plan.data !== undefined && (
        <>
          <p>{texts.dueTimes(plan.data.total)}</p>
          {plan.data.times.length > 0 && <ol class="stack tight small muted">{plan.data.times.slice(0, 5).map((at) => <li key={at}><Time at={at} /></li>)}</ol>}
          <div><button class="btn primary" disabled={starting.busy || plan.data.total === 0} onClick={start}>{texts.startThem}</button></div>
        </>
      )}
    </section>
  );
}
