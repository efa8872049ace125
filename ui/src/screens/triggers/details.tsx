/** One trigger: its next times, or its address with the requests that came there. */
import { useSignal } from "@preact/signals";
import { api, type Schemas } from "../../api/client";
import { useQuery } from "../../api/query";
import { go, to } from "../../app/router";
import { may } from "../../app/session";
import { hookCurl } from "../../forms/commands";
import { Dialog, useQuestion } from "../../parts/dialog";
import { bytes } from "../../parts/format";
import { Json } from "../../parts/json";
import { Empty, Failure, Load, Time } from "../../parts/parts";
import { useStart, type Key } from "../../parts/start";
import { done } from "../../parts/toast";
import { Prose } from "../../parts/prose";
import { ScheduleWords } from "../../parts/schedule";
import { CopyButton, useAction } from "../../parts/tools";
import { common } from "../../texts/common";
import { triggers as texts } from "../../texts/triggers";
import { Backfill } from "./backfill";
import { LastStart, TriggerActions, TriggerState, type Trigger } from "./parts";

type Delivery = Schemas["HookDeliveryAnswer"];
const PAGE = 50;
/** The most that the server keeps, and sends at once. */
const MOST = 1000;
const TONES = { received: "wait", started: "ok", skipped: "off", repeated: "off", failed: "bad" } as const;

export function TriggerDialog({ trigger, reload, onClose }: { trigger: Trigger; reload: () => Promise<void>; onClose: () => void }) {
  const action = useAction();
  return (
    <Dialog title={trigger.name} wide onClose={onClose} actions={<TriggerActions trigger={trigger} action={action} reload={reload} />}>
      <dl class="facts-list">
        <dt>{texts.flow}</dt><dd><a class="link" href={to(`/flows/${trigger.flow_id}`)}>{trigger.flow_name}</a></dd>
        <dt>{texts.type}</dt><dd>{texts.types[trigger.type]}</dd>
        {trigger.schedule !== null && <><dt>{texts.schedule}</dt><dd><ScheduleWords schedule={trigger.schedule} />{trigger.schedule.cron !== null && <code class="muted small block">{trigger.schedule.cron}</code>}</dd></>}
        {trigger.schedule !== null && <><dt>{texts.overlap}</dt><dd>{texts.overlaps[trigger.schedule.overlap]}</dd><dt>{texts.outage}</dt><dd>{texts.outages[trigger.schedule.missed]}</dd></>}
        <dt>{texts.state}</dt>
        <dd class="row"><TriggerState of={trigger} />{trigger.skipped > 0 && <span class="muted small">{texts.skipped(trigger.skipped)}</span>}{trigger.missed > 0 && <span class="muted small">{texts.missed(trigger.missed)}</span>}</dd>
        <dt>{texts.last}</dt><dd class="row"><LastStart of={trigger} /><a class="link small" href={to("/executions", { trigger: trigger.id })}>{texts.itsExecutions}</a></dd>
      </dl>
      {trigger.error !== null && <div class="alert"><b>{texts.lastError}</b><span>{trigger.error}</span></div>}
      {trigger.warning !== null && <div class="alert note">{trigger.warning}</div>}
      {trigger.type === "schedule" && <NextTimes trigger={trigger} />}
      {trigger.type === "schedule" && trigger.state !== "ended" && may("operator") && <Backfill trigger={trigger} reload={reload} />}
      {trigger.type === "execution" && <p class="muted">{texts.afterHint}</p>}
      {trigger.url !== null && <Address trigger={trigger} url={trigger.url} reload={reload} />}
      {trigger.type === "webhook" && <Deliveries trigger={trigger} />}
    </Dialog>
  );
}

const ZONE = Intl.DateTimeFormat().resolvedOptions().timeZone;

function NextTimes({ trigger }: { trigger: Trigger }) {
  const times = useQuery(`${trigger.id} ${trigger.next_at}`, (signal) => api.get("/api/v1/triggers/{id}/next", { path: { id: trigger.id }, query: { count: 5 }, signal }));
  return (
    <section class="stack tight">
      <h3>{texts.nextTimes}</h3>
      {trigger.schedule?.timezone !== ZONE && <p class="muted small">{texts.zone(ZONE)}</p>}
      <Load query={times} rows={3}>
        {({ next }) => next.length === 0 ? <p class="muted">{texts.noTimes}</p> : <ol class="stack tight">{next.map((at) => <li key={at} class="row"><Time at={at} /><span class="muted small"><Time at={at} how="relative" /></span></li>)}</ol>}
      </Load>
    </section>
  );
}

/** The address of a webhook, with its secret part shown only when it is asked for. */
function Address({ trigger: { id, state }, url, reload }: { trigger: Trigger; url: string; reload: () => Promise<void> }) {
  const isShown = useSignal(false);
  const { ask, question } = useQuestion();
  const rotate = () => ask({
    title: texts.rotateTitle, action: texts.rotateNow, hint: texts.rotateHint, said: texts.rotated,
    run: () => api.post("/api/v1/triggers/{id}/rotate", { path: { id } }).then(reload),
  });
  const whole = new URL(url, window.location.origin).href;
  const isKnown = may("editor");
  const masked = `${whole.slice(0, whole.lastIndexOf("/") + 1)}••••••••`;
  return (
    <section class="stack tight">
      <h3>{texts.url}</h3>
      <code class="wrap">{isShown.value && isKnown ? whole : masked}</code>
      {isKnown && <div class="row"><button class="btn" onClick={() => (isShown.value = !isShown.value)}>{isShown.value ? texts.hide : texts.show}</button><CopyButton text={whole} label={texts.copyUrl} /><CopyButton text={hookCurl(whole)} label={common.copyCurl} />{state !== "ended" && <button class="btn" onClick={rotate}>{texts.rotate}</button>}</div>}
      {question}
      <p class="muted small"><Prose text={isKnown ? texts.urlHint : texts.urlHidden} /></p>
    </section>
  );
}

function Deliveries({ trigger: { id } }: { trigger: Trigger }) {
  const limit = useSignal(PAGE);
  const list = useQuery(`${id} ${limit.value}`, (signal) => api.get("/api/v1/triggers/{id}/deliveries", { path: { id }, query: { limit: limit.value }, signal }), 10_000);
  return (
    <section class="stack tight">
      <h3>{texts.deliveries}</h3>
      <Load query={list} rows={3}>
        {({ deliveries, refused, total }) => (
          <>
            {refused.count > 0 && <p class="small"><span class="bad">{texts.refused(refused.count)}</span> <span class="muted">{[...new Set(refused.last.map(({ reason }) => reason))].join(" · ")}</span></p>}
            {deliveries.length === 0 ? <Empty title={texts.noDeliveries}><p>{texts.noDeliveriesHint}</p></Empty> : (
              <ul class="card lines">{deliveries.map((delivery) => <Line key={delivery.id} trigger={id} delivery={delivery} reload={list.reload} />)}</ul>
            )}
            {total !== undefined && total > deliveries.length && (
              <div class="row">
                <span class="muted small">{common.shown(deliveries.length, total)}</span>
                {limit.value < MOST && <button class="btn" onClick={() => (limit.value = Math.min(MOST, limit.value * 4))}>{common.more}</button>}
              </div>
            )}
          </>
        )}
      </Load>
    </section>
  );
}

function Line({ trigger, delivery, reload }: { trigger: string; delivery: Delivery; reload: () => Promise<void> }) {
  const isOpen = useSignal(false);
  const starting = useStart();
  const path = { id: trigger, delivery_id: delivery.id };
  const replay = async (headers: Key) => {
    const { execution_id: execution } = await api.post("/api/v1/triggers/{id}/deliveries/{delivery_id}/replay", { path, headers });
    await reload();
    done(execution === undefined ? texts.replayedForNothing : texts.replayed);
    if (execution !== undefined) go(to(`/executions/${execution}`));
  };
  return (
    <li class="stack tight">
      <div class="row">
        <span class={`pill ${TONES[delivery.state]}`}>{texts.deliveryStates[delivery.state]}</span>
        <span class="muted nowrap"><Time at={delivery.received_at} /></span>
        <span class="muted small nowrap">{bytes(delivery.size)}</span>
        {delivery.execution_id !== undefined && <a class="link" href={to(`/executions/${delivery.execution_id}`)}>{texts.execution}</a>}
        <span class="row right">
          <button class="btn quiet" aria-expanded={isOpen.value} onClick={() => (isOpen.value = !isOpen.value)}>{texts.request}</button>
          {may("operator") && <button class="btn" disabled={starting.busy} onClick={() => starting.run(delivery.id, replay)}>{texts.replay}</button>}
        </span>
      </div>
      {delivery.error !== undefined && <span class="bad small">{delivery.error}</span>}
      {isOpen.value && <Request path={path} />}
    </li>
  );
}

function Request({ path }: { path: { id: string; delivery_id: string } }) {
  const found = useQuery(path.delivery_id, (signal) => api.get("/api/v1/triggers/{id}/deliveries/{delivery_id}", { path, signal }));
  if (found.error) return <Failure error={found.error} retry={found.reload} />;
  return found.data === undefined ? <p class="muted small" aria-busy="true">{common.loading}</p> : <Json label={texts.request} value={found.data.request ?? null} />;
}
