/** The state of the installation, and the pause. */
import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { api } from "../../api/client";
import { useQuery } from "../../api/query";
import { pausedAt } from "../../app/counts";
import { Confirm } from "../../parts/dialog";
import { bytes, count } from "../../parts/format";
import { Load, Time } from "../../parts/parts";
import { useAction } from "../../parts/tools";
import { admin as texts } from "../../texts/admin";
import { notices } from "../../texts/notices";

export function System() {
  const system = useQuery("system", (signal) => api.get("/api/v1/system", { signal }), 5000);
  const asks = useSignal(false);
  const action = useAction();
  const state = system.data;
  useEffect(() => {
    if (state !== undefined) pausedAt.value = state.paused_at;
  }, [state]);
  function pause(paused: boolean): void {
    action.run(async () => {
      await api.put("/api/v1/admin/pause", { body: { paused } });
      await system.reload();
      asks.value = false;
    });
  }
  return (
    <Load query={system} rows={6}>
      {({ version, paused, paused_at: since, details }) => (
        <div class="columns">
          <section class="card padded stack">
            <h2>{texts.system}</h2>
            <dl class="facts-list">
              <dt>{texts.version}</dt><dd>{version}</dd>
              {details !== undefined && (
                <>
                  <dt>{texts.since}</dt><dd><Time at={details.started_at} /></dd>
                  <dt>{texts.database}</dt><dd>{texts.kinds[details.database.kind] ?? details.database.kind}, {bytes(details.database.size)}</dd>
                  <dt>{texts.processes}</dt><dd>{count(details.processes)}</dd>
                  {details.engine_processes !== undefined && <><dt>{texts.engineProcesses}</dt><dd>{count(details.engine_processes)}</dd></>}
                  <dt>{texts.scripts}</dt><dd>{count(details.script_workers)}</dd>
                  <dt>{texts.streams}</dt><dd>{count(details.streams)}</dd>
                  <dt>{texts.runsOn}</dt><dd>{texts.kinds[details.dispatcher.kind] ?? details.dispatcher.kind}</dd>
                  {(["active", "queued", "limit"] as const).map((name) => [<dt key={name}>{texts.engine[name]}</dt>, <dd key={`${name} value`}>{count(details.dispatcher[name])}</dd>])}
                </>
              )}
            </dl>
          </section>
          <section class="card padded stack">
            <div class="row"><h2>{texts.pauseTitle}</h2><span class={`pill right ${paused ? "wait" : "ok"}`}>{paused ? texts.isPaused : texts.active}</span></div>
            <p>{paused ? notices.paused : texts.running} {since !== undefined && <span class="muted">(<Time at={since} />)</span>}</p>
            <p class="muted small">{texts.pauseHint}</p>
            <div class="row"><button class={paused ? "btn primary" : "btn"} disabled={action.busy} onClick={() => (paused ? pause(false) : (asks.value = true))}>{paused ? texts.resume : texts.pause}</button></div>
            {asks.value && <Confirm title={texts.pauseAsked} action={texts.pauseIt} busy={action.busy} onConfirm={() => pause(true)} onClose={() => (asks.value = false)}><p class="muted">{texts.pauseHint}</p></Confirm>}
          </section>
        </div>
      )}
    </Load>
  );
}
