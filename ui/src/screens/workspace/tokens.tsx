/** The API tokens of all members that reach a workspace; each can be revoked. */
import { api, type Schemas } from "../../api/client";
import { useQuery } from "../../api/query";
import { personOf } from "../../app/people";
import { location, to } from "../../app/router";
import type { Workspace } from "../../app/session";
import { useQuestion } from "../../parts/dialog";
import { PAGE, Pager } from "../../parts/pager";
import { Empty, Load, Time } from "../../parts/parts";
import { Table } from "../../parts/table";
import { account as words } from "../../texts/account";
import { workspace as texts } from "../../texts/workspace";

type Token = Schemas["TokenInList"];

export function WorkspaceTokens({ place }: { place: Workspace }) {
  const cursor = location.value.query.get("cursor") ?? "";
  const list = useQuery(`${place.id} ${cursor}`, (signal) => api.get("/api/v1/workspaces/{id}/tokens", { path: { id: place.id }, query: { limit: PAGE, cursor, count: true }, signal }));
  const { ask, question } = useQuestion();
  const revoke = ({ id, name }: Token) => ask({
    title: words.revokeTitle(name), action: words.revoke, hint: words.revokeHint, said: words.revoked,
    run: () => api.delete("/api/v1/workspaces/{id}/tokens/{token_id}", { path: { id: place.id, token_id: id } }).then(list.reload),
  });
  return (
    <>
      <p class="muted">{texts.tokensHint}</p>
      <Load query={list} rows={3}>
        {({ tokens, total, next_cursor: next }) => tokens.length === 0 ? <div class="card"><Empty title={texts.noTokens}><p>{texts.noTokensHint}</p><a class="btn" href={to("/account", { tab: "tokens" })}>{texts.ownTokens}</a></Empty></div> : (
          <>
            <Table
              rows={tokens}
              keyOf={({ id }) => id}
              columns={[
                { head: words.name, look: "name", cell: ({ name }) => <span class="cut block" title={name}>{name}</span> },
                { head: texts.member, look: "muted", title: (token) => token.account_id, cell: (token) => personOf(token.account_id) },
                { label: words.scopes, cell: ({ scopes }) => scopes.join(", ") },
                { label: words.expires, look: "muted", cell: ({ expires_at: at }) => (at === undefined ? words.never : <Time at={at} />) },
                { label: words.used, look: "muted", cell: ({ last_used_at: at }) => (at === undefined ? words.unused : <Time at={at} how="relative" />) },
              ]}
              acts={(token) => <button class="btn quiet" aria-label={`${words.revoke} ${token.name}`} onClick={() => revoke(token)}>{words.revoke}</button>}
            />
            <Pager next={next} count={total !== undefined && texts.ofTokens(total)} />
          </>
        )}
      </Load>
      {question}
    </>
  );
}
