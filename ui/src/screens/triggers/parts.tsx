/** What the table of triggers and the details of one show: its state, its last start, and what can be done to it. */
import { api, type Schemas } from "../../api/client";
import { go, to } from "../../app/router";
import { may } from "../../app/session";
import { Time } from "../../parts/parts";
import { useStart, type Key } from "../../parts/start";
import { done } from "../../parts/toast";
import type { Action } from "../../parts/tools";
import { triggers as texts } from "../../texts/triggers";

export type Trigger = Schemas["TriggerAnswer"];
const TONES = { armed: "ok", paused: "off", failing: "bad", ended: "off" } as const;

export function TriggerState({ of: { state, warning } }: { of: Trigger }) {
  if (warning !== null) return <span class="pill wait" title={warning}>{texts.startsNothing}</span>;
  return <span class={`pill ${TONES[state]}`}>{texts.states[state]}</span>;
}

export function LastStart({ of: { last_at: at, last_execution_id: id } }: { of: Trigger }) {
  if (at === null) return <>{texts.never}</>;
  return id === null ? <Time at={at} /> : <a class="link" href={to(`/executions/${id}`)}><Time at={at} /></a>;
}

/** What the account may do to the trigger; one that its flow has no more can only be looked at. */
export function TriggerActions({ trigger, action, reload }: { trigger: Trigger; action: Action; reload: () => Promise<void> }) {
  const path = { id: trigger.id };
  const { name } = trigger;
  const starting = useStart();
  if (!may("operator") || trigger.state === "ended") return null;
  const isPaused = trigger.state === "paused";
  const toggle = async () => {
    if (isPaused) await api.post("/api/v1/triggers/{id}/resume", { path });
    else await api.post("/api/v1/triggers/{id}/pause", { path });
    await reload();
    done(isPaused ? texts.resumed(name) : texts.paused(name));
  };
  const run = async (headers: Key) => {
    const started = await api.post("/api/v1/triggers/{id}/run", { path, headers });
    done(texts.started(name));
    go(to(`/executions/${started.execution_id}`));
  };
  return (
    <>
      {trigger.type === "schedule" && <button class="btn quiet" aria-label={`${texts.run}: ${name}`} disabled={starting.busy} onClick={() => starting.run(trigger.id, run)}>{texts.run}</button>}
      <button class="btn" aria-label={`${isPaused ? texts.resume : texts.pause} ${name}`} disabled={action.busy} onClick={() => action.run(toggle)}>{isPaused ? texts.resume : texts.pause}</button>
    </>
  );
}
