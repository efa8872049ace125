/** The logins of the account, each of which can be ended. */
import { useSignal } from "@preact/signals";
import { api, type Schemas } from "../../api/client";
import { useQuery } from "../../api/query";
import { logOut } from "../../app/session";
import { Confirm } from "../../parts/dialog";
import { Load, Time } from "../../parts/parts";
import { done } from "../../parts/toast";
import { useAction } from "../../parts/tools";
import { programOf } from "./programs";
import { account as texts } from "../../texts/account";

type Session = Schemas["SessionAnswer"];

function nameOf({ agent }: Session): string {
  return agent === undefined ? texts.unknown : programOf(agent);
}

export function Sessions() {
  const list = useQuery("sessions", (signal) => api.get("/api/v1/sessions", { query: { limit: 100 }, signal }));
  const action = useAction();
  /** The session that is asked about; null for all others. */
  const asked = useSignal<Session | null | undefined>(undefined);
  function end(id: string | undefined): void {
    action.run(async () => {
      if (id === undefined) await api.delete("/api/v1/sessions");
      else await api.delete("/api/v1/sessions/{id}", { path: { id } });
      await list.reload();
      asked.value = undefined;
      done(id === undefined ? texts.othersEnded : texts.sessionEnded);
    });
  }
  return (
    <div class="content">
      <div class="row"><p class="muted grow">{texts.sessionsHint}</p><button class="btn" onClick={() => (asked.value = null)}>{texts.endOthers}</button></div>
      <Load query={list} rows={3}>
        {({ sessions }) => (
          <div class="card scroll">
            <table class="stacked">
              <thead><tr><th>{texts.browser}</th><th class="wide-only">{texts.address}</th><th>{texts.loggedIn}</th><th class="wide-only">{texts.used}</th><th><span class="hidden">{texts.actions}</span></th></tr></thead>
              <tbody>
                {sessions.map((session) => (
                  <tr key={session.id}>
                    <td class="name"><span class="cut block" title={session.agent}>{nameOf(session)}</span></td>
                    <td class="wide-only muted" data-label={texts.address}>{session.address ?? texts.unknown}</td>
                    <td class="muted" data-label={texts.loggedIn}><Time at={session.created_at} /></td>
                    <td class="wide-only muted" data-label={texts.used}>{session.last_used_at !== undefined && <Time at={session.last_used_at} how="relative" />}</td>
                    <td class="num acts">
                      {session.is_current
                        ? <button class="btn quiet" onClick={() => logOut()}>{texts.logOut}</button>
                        : <button class="btn quiet" aria-label={texts.endOf(nameOf(session))} onClick={() => (asked.value = session)}>{texts.endSession}</button>}
                    </td>
                  </tr>
                ))}
              </tbody>
            </table>
          </div>
        )}
      </Load>
      {asked.value !== undefined && (
        <Confirm title={asked.value === null ? texts.endOthersTitle : texts.endTitle(nameOf(asked.value))} action={asked.value === null ? texts.endOthers : texts.endIt} busy={action.busy} onConfirm={() => end(asked.value?.id)} onClose={() => (asked.value = undefined)}>
          <p class="muted">{texts.endHint}</p>
        </Confirm>
      )}
    </div>
  );
}
