/** One callback: what it tells of, its deliveries, and what can be done to it. */
import { useSignal } from "@preact/signals";
import { api, type Schemas } from "../../api/client";
import { useQuery } from "../../api/query";
import { to } from "../../app/router";
import { may } from "../../app/session";
import { Dialog, useQuestion } from "../../parts/dialog";
import { now } from "../../parts/format";
import { Empty, Load, Time } from "../../parts/parts";
import { done } from "../../parts/toast";
import { useAction } from "../../parts/tools";
import { common } from "../../texts/common";
import { callbacks as texts } from "../../texts/callbacks";
import { ChangeCallback } from "./form";
import { CallbackState, SecretDialog, SIGNED, TestButton, nameOf, type Callback } from "./parts";

type Delivery = Schemas["DeliveryAnswer"];
const PAGE = 50;
/** The most that the server sends at once. */
const MOST = 1000;
const TONES = { delivered: "ok", failed: "bad", pending: "wait" } as const;

export function CallbackDialog({ callback, reload, onClose }: { callback: Callback; reload: () => Promise<void>; onClose: () => void }) {
  const { id, enabled } = callback;
  const name = nameOf(callback);
  const isChanging = useSignal(false);
  const { ask, question } = useQuestion();
  const rotated = useSignal<string | undefined>(undefined);
  const action = useAction();
  const limit = useSignal(PAGE);
  const list = useQuery(`${id} ${limit.value}`, (signal) => api.get("/api/v1/callbacks/{id}/deliveries", { path: { id }, query: { limit: limit.value }, signal }), 5000);
  const renew = async () => void (await Promise.all([reload(), list.reload()]));
  const toggle = async () => {
    await api.put("/api/v1/callbacks/{id}", { path: { id }, body: { enabled: !enabled } });
    await renew();
    done(enabled ? texts.disabled(name) : texts.enabled(name));
  };
  const remove = () => ask({
    title: texts.deleteTitle(name), action: texts.deleteIt, hint: texts.deleteHint, said: texts.deleted(name),
    run: async () => {
      await api.delete("/api/v1/callbacks/{id}", { path: { id } });
      onClose();
      await reload();
    },
  });
  const rotate = () => ask({
    title: texts.rotateTitle(name), action: texts.rotateIt, hint: texts.rotateHint,
    run: async () => (rotated.value = (await api.post("/api/v1/callbacks/{id}/rotate", { path: { id } })).secret),
  });
  if (rotated.value !== undefined) return <SecretDialog secret={rotated.value} onClose={() => (rotated.value = undefined)} />;
  if (isChanging.value) return <ChangeCallback callback={callback} onChanged={reload} onClose={() => (isChanging.value = false)} />;
  return (
    <Dialog
      title={name}
      wide
      onClose={onClose}
      actions={may("editor") && <>
        <button class="btn danger" onClick={remove}>{texts.delete}</button>
        {SIGNED.includes(callback.format) && <button class="btn" onClick={rotate}>{texts.rotate}</button>}
        <button class="btn" onClick={() => (isChanging.value = true)}>{texts.change}</button>
        <button class="btn" disabled={action.busy} onClick={() => action.run(toggle)}>{enabled ? texts.disable : texts.enable}</button>
        <TestButton callback={callback} onDone={renew} />
      </>}
    >
      <dl class="facts-list">
        <dt>{texts.url}</dt><dd class="wrap"><code>{callback.url}</code></dd>
        <dt>{texts.format}</dt><dd>{texts.formats[callback.format]}</dd>
        <dt>{texts.events}</dt><dd class="wrap">{callback.events.join(", ")}</dd>
        <dt>{texts.scope}</dt><dd class="wrap"><Scope of={callback} /></dd>
        <dt>{texts.state}</dt><dd class="row"><CallbackState of={callback} />{callback.failures > 0 && <span class="muted small">{texts.failures(callback.failures)}</span>}{callback.last_error !== undefined && <span class="muted small wrap">{callback.last_error}</span>}</dd>
      </dl>
      {callback.warning !== undefined && <div class="alert">{callback.warning}</div>}
      {callback.disabled_reason !== undefined && <div class="alert"><b>{texts.disabledBy}</b><span>{callback.disabled_reason}</span><span>{texts.disabledHint}</span></div>}
      <section class="stack tight">
        <h3>{texts.deliveries}</h3>
        <Load query={list} rows={3}>
          {({ deliveries, total }) => deliveries.length === 0 ? <Empty title={texts.noDeliveries}><p>{texts.noDeliveriesHint}</p></Empty> : (
            <>
              <ul class="card lines">{deliveries.map((delivery) => <Line key={delivery.id} delivery={delivery} reload={renew} />)}</ul>
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
      {question}
    </Dialog>
  );
}

function Scope({ of: { flow_id: flow, tag, warning } }: { of: Callback }) {
  if (flow !== null) return warning === undefined ? <a class="link" href={to(`/flows/${flow}`)}>{flow}</a> : <>{flow}</>;
  return <>{tag === null ? texts.scopes["all"] : texts.tagged(tag)}</>;
}

function Line({ delivery, reload }: { delivery: Delivery; reload: () => Promise<void> }) {
  const action = useAction();
  const { id, callback_id: callback, execution_id: execution, status_code: status, error, next_attempt_at: next } = delivery;
  const redeliver = async () => {
    await api.post("/api/v1/callbacks/{id}/deliveries/{delivery_id}/redeliver", { path: { id: callback, delivery_id: id } });
    await reload();
    done(texts.redelivered);
  };
  return (
    <li class="row">
      <span class={`pill ${delivery.state === "delivered" && error !== undefined ? "wait" : TONES[delivery.state]}`}>{texts.deliveryStates[delivery.state]}</span>
      <code class="wrap">{delivery.event}</code>
      <span class="muted nowrap"><Time at={delivery.created_at} /></span>
      <span class="muted small">
        {texts.attempts(delivery.attempts)}
        {status !== undefined && ` · ${texts.answered(status)}`}
        {status === undefined && error !== undefined && ` · ${error}`}
        {next !== undefined && Date.parse(next) > now.value && <> · {texts.again} <Time at={next} how="relative" /></>}
      </span>
      {execution !== undefined && <a class="link small" href={to(`/executions/${execution}`)}>{texts.execution}</a>}
      {may("editor") && <button class="btn right" disabled={action.busy} onClick={() => action.run(redeliver)}>{texts.redeliver}</button>}
    </li>
  );
}
