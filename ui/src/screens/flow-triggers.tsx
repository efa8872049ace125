/** The triggers of one flow: their states, their next times, and a pause for each. */
import { api, ApiError, type Schemas } from "../api/client";
import { useQuery } from "../api/query";
import { to, type Parameters } from "../app/router";
import { may } from "../app/session";
import { Empty, Load, Time } from "../parts/parts";
import { done, failed } from "../parts/toast";
import { common } from "../texts/common";
import { flow as words } from "../texts/flow";
import { triggers as texts } from "../texts/triggers";
import { FlowHead } from "./flow/head";
import { loadFlow } from "./flow/state";

type Trigger = Schemas["TriggerAnswer"];
const TONES = { armed: "ok", paused: "off", failing: "bad", ended: "off" } as const;

export default function FlowTriggers({ parameters }: { parameters: Parameters }) {
  const id = parameters.id!;
  const flow = useQuery(id, (signal) => loadFlow(id, signal));
  const list = useQuery(id, (signal) => api.get("/api/v1/triggers", { query: { flow_id: id, limit: 100 }, signal }), 15_000);

  async function toggle(trigger: Trigger): Promise<void> {
    try {
      const path = { id: trigger.id };
      if (trigger.state === "paused") await api.post("/api/v1/triggers/{id}/resume", { path });
      else await api.post("/api/v1/triggers/{id}/pause", { path });
      done(trigger.state === "paused" ? texts.resumed(trigger.name) : texts.paused(trigger.name));
      await list.reload();
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      failed(error);
    }
  }

  return (
    <>
      <FlowHead id={id} name={flow.data?.flow.name ?? " "} />
      <div class="content">
        <Load query={list} rows={4}>
          {({ triggers }) =>
            triggers.length === 0 ? (
              <div class="card"><Empty title={texts.none}><p>{texts.noneHint}</p><a class="btn" href={to(`/flows/${encodeURIComponent(id)}`)}>{words.openEditor}</a></Empty></div>
            ) : (
              <div class="card scroll">
                <table>
                  <thead><tr><th>{texts.name}</th><th>{texts.type}</th><th>{texts.state}</th><th>{texts.next}</th><th>{texts.last}</th><th /></tr></thead>
                  <tbody>
                    {triggers.map((trigger) => (
                      <tr key={trigger.id}>
                        <td class="name"><span class="cut block" title={trigger.name}>{trigger.name}</span>{trigger.error !== null && <span class="bad small">{trigger.error}</span>}</td>
                        <td class="muted">{texts.types[trigger.type]}</td>
                        <td><span class={`pill ${TONES[trigger.state]}`}>{texts.states[trigger.state]}</span>{trigger.skipped > 0 && <span class="muted small"> {texts.skipped(trigger.skipped)}</span>}{trigger.missed > 0 && <span class="muted small"> {texts.missed(trigger.missed)}</span>}</td>
                        <td class="muted"><NextTimes trigger={trigger} /></td>
                        <td class="muted nowrap">{trigger.last_at === null ? texts.never : trigger.last_execution_id === null ? <Time at={trigger.last_at} /> : <a class="link" href={to(`/executions/${trigger.last_execution_id}`)}><Time at={trigger.last_at} /></a>}</td>
                        <td class="num">{may("editor") && trigger.state !== "ended" && <button class="btn" onClick={() => void toggle(trigger)}>{trigger.state === "paused" ? texts.resume : texts.pause}</button>}</td>
                      </tr>
                    ))}
                  </tbody>
                </table>
              </div>
            )
          }
        </Load>
      </div>
    </>
  );
}

function NextTimes({ trigger }: { trigger: Trigger }) {
  const { url } = trigger;
  if (url !== null) return <button class="btn quiet small-btn" title={url} onClick={() => void navigator.clipboard.writeText(new URL(url, window.location.origin).href).then(() => done(common.copied))}>{texts.copyUrl}</button>;
  if (trigger.next_at === null) return <>{texts.never}</>;
  return <Schedule id={trigger.id} at={trigger.next_at} />;
}

function Schedule({ id, at }: { id: string; at: string }) {
  const times = useQuery(`${id} ${at}`, (signal) => api.get("/api/v1/triggers/{id}/next", { path: { id }, signal }));
  return (
    <details class="small">
      <summary title={texts.nextTimes}><Time at={at} /></summary>
      <ol>{times.data?.next.map((each) => <li key={each}><Time at={each} /></li>)}</ol>
    </details>
  );
}
