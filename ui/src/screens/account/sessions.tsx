/** The logins of the account, each of which can be ended. */
import { api, type Schemas } from "../../api/client";
import { useQuery } from "../../api/query";
import { location } from "../../app/router";
import { logOut } from "../../app/session";
import { useQuestion } from "../../parts/dialog";
import { PAGE, Pager } from "../../parts/pager";
import { Load, Time } from "../../parts/parts";
import { programOf } from "./programs";
import { Table } from "../../parts/table";
import { account as texts } from "../../texts/account";

type Session = Schemas["SessionAnswer"];

function nameOf({ agent }: Session): string {
  return agent === undefined ? texts.unknown : programOf(agent);
}

export function Sessions() {
  const cursor = location.value.query.get("cursor") ?? "";
  const list = useQuery(`sessions ${cursor}`, (signal) => api.get("/api/v1/sessions", { query: { limit: PAGE, cursor }, signal }));
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
        {({ sessions, next_cursor: next }) => (<>
          <Table
            rows={sessions}
            keyOf={({ id }) => id}
            columns={[
              { head: texts.browser, look: "name", cell: (session) => <span class="cut block" title={session.agent}>{nameOf(session)}</span> },
              { label: texts.address, look: "muted", cell: ({ address }) => address ?? texts.unknown },
              { label: texts.loggedIn, look: "muted", cell: ({ created_at: at }) => <Time at={at} /> },
              { label: texts.used, look: "muted", cell: ({ last_used_at: at }) => at !== undefined && <Time at={at} how="relative" /> },
            ]}
            acts={(session) => session.is_current
              ? <button class="btn quiet" onClick={() => logOut()}>{texts.logOut}</button>
              : <button class="btn quiet" aria-label={texts.endOf(nameOf(session))} onClick={() => end(session)}>{texts.endSession}</button>}
          />
          <Pager next={next} />
        </>)}
      </Load>
      {question}
    </div>
  );
}
