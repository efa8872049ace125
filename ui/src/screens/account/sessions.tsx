/** The logins of the account, each of which can be ended. */
import { api, type Schemas } from "../../api/client";
import { useQuery } from "../../api/query";
import { logOut } from "../../app/session";
import { useQuestion } from "../../parts/dialog";
import { Load, Time } from "../../parts/parts";
import { programOf } from "./programs";
import { account as texts } from "../../texts/account";

type Session = Schemas["SessionAnswer"];

function nameOf({ agent }: Session): string {
  return agent === undefined ? texts.unknown : programOf(agent);
}

export function Sessions() {
  const list = useQuery("sessions", (signal) => api.get("/api/v1/sessions", { query: { limit: 100 }, signal }));
  const { ask, question } = useQuestion();
  const end = (session: Session) => ask({
    title: texts.endTitle(nameOf(session)), action: texts.endIt, hint: texts.endHint, said: texts.sessionEnded,
    run: () => api.delete("/api/v1/sessions/{id}", { path: { id: session.id } }).then(list.reload),
  });
  const endOthers = () => ask({
    title: texts.endOthersTitle, action: texts.endOthers, hint: texts.endHint, said: texts.othersEnded,
    run: () => api.delete("/api/v1/sessions").then(list.reload),
  });
  return (
    <div class="content">
      <div class="row"><p class="muted grow">{texts.sessionsHint}</p><button class="btn" onClick={endOthers}>{texts.endOthers}</button></div>
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
                        : <button class="btn quiet" aria-label={texts.endOf(nameOf(session))} onClick={() => end(session)}>{texts.endSession}</button>}
                    </td>
                  </tr>
                ))}
              </tbody>
            </table>
          </div>
        )}
      </Load>
      {question}
    </div>
  );
}
