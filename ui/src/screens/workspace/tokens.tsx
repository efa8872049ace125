/** The API tokens of all members that reach a workspace; each can be revoked. */
import { useSignal } from "@preact/signals";
import { api, type Schemas } from "../../api/client";
import { useQuery, type Query } from "../../api/query";
import { location } from "../../app/router";
import type { Workspace } from "../../app/session";
import { Confirm } from "../../parts/dialog";
import { shortId } from "../../parts/format";
import { Pager } from "../../parts/pager";
import { Empty, Load, Time } from "../../parts/parts";
import { done } from "../../parts/toast";
import { useAction } from "../../parts/tools";
import { account as words } from "../../texts/account";
import { workspace as texts } from "../../texts/workspace";

type Token = Schemas["TokenInList"];
const PAGE = 50;

export function WorkspaceTokens({ place, members }: { place: Workspace; members: Query<Schemas["MemberList"]> }) {
  const cursor = location.value.query.get("cursor") ?? "";
  const list = useQuery(`${place.id} ${cursor}`, (signal) => api.get("/api/v1/workspaces/{id}/tokens", { path: { id: place.id }, query: { limit: PAGE, cursor, count: true }, signal }));
  const revoked = useSignal<Token | undefined>(undefined);
  const action = useAction();
  const nameOf = (id: string) => members.data?.members.find((each) => each.account_id === id)?.name ?? shortId(id);
  function revoke(token: Token): void {
    action.run(async () => {
      await api.delete("/api/v1/workspaces/{id}/tokens/{token_id}", { path: { id: place.id, token_id: token.id } });
      await list.reload();
      revoked.value = undefined;
      done(words.revoked);
    });
  }
  return (
    <>
      <p class="muted">{texts.tokensHint}</p>
      <Load query={list} rows={3}>
        {({ tokens, total, next_cursor: next }) => tokens.length === 0 ? <div class="card"><Empty title={texts.noTokens}><p>{texts.noTokensHint}</p></Empty></div> : (
          <>
            <div class="card scroll">
              <table class="stacked">
                <thead><tr><th>{words.name}</th><th>{texts.member}</th><th class="wide-only">{words.scopes}</th><th class="wide-only">{words.expires}</th><th class="wide-only">{words.used}</th><th><span class="hidden">{texts.actions}</span></th></tr></thead>
                <tbody>
                  {tokens.map((token) => (
                    <tr key={token.id}>
                      <td class="name"><span class="cut block" title={token.name}>{token.name}</span></td>
                      <td class="muted" title={token.account_id}>{nameOf(token.account_id)}</td>
                      <td class="wide-only" data-label={words.scopes}>{token.scopes.join(", ")}</td>
                      <td class="wide-only muted" data-label={words.expires}>{token.expires_at === undefined ? words.never : <Time at={token.expires_at} />}</td>
                      <td class="wide-only muted" data-label={words.used}>{token.last_used_at === undefined ? words.unused : <Time at={token.last_used_at} how="relative" />}</td>
                      <td class="num acts"><button class="btn quiet" aria-label={`${words.revoke} ${token.name}`} onClick={() => (revoked.value = token)}>{words.revoke}</button></td>
                    </tr>
                  ))}
                </tbody>
              </table>
            </div>
            <Pager next={next} count={total !== undefined && texts.ofTokens(total)} />
          </>
        )}
      </Load>
      {revoked.value !== undefined && (
        <Confirm title={words.revokeTitle(revoked.value.name)} action={words.revoke} busy={action.busy} onConfirm={() => revoke(revoked.value!)} onClose={() => (revoked.value = undefined)}>
          <p class="muted">{words.revokeHint}</p>
        </Confirm>
      )}
    </>
  );
}
