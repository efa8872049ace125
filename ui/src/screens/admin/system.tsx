/** The state of the installation, and the pause. */
import { useEffect } from "preact/hooks";
import { api } from "../../api/client";
import { useQuery } from "../../api/query";
import { pausedAt } from "../../app/counts";
import { useQuestion } from "../../parts/dialog";
import { bytes, count } from "../../parts/format";
import { Load, Time } from "../../parts/parts";
import { useAction } from "../../parts/tools";
import { admin as texts } from "../../texts/admin";
import { notices } from "../../texts/notices";

export function System() {
  const system = useQuery("system", (signal) => api.get("/api/v1/system", { signal }), 5000);
  const { ask, question } = useQuestion();
  const action = useAction();
  const state = system.data;
  useEffect(() => {
    if (state !== undefined) pausedAt.value = state.paused_at;
  }, [state]);
  const set = (paused: boolean) => api.put("/api/v1/admin/pause", { body: { paused } }).then(system.reload);
  const pause = () => ask({ title: texts.pauseAsked, action: texts.pauseIt, hint: texts.pauseHint, run: () => set(true) });
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
            <div class="row"><button class={paused ? "btn primary" : "btn"} disabled={action.busy} onClick={() => (paused ? action.run(() => set(false)) : pause())}>{paused ? texts.resume : texts.pause}</button></div>
            {question}
          </section>
        </div>
      )}
    </Load>
  );
}
