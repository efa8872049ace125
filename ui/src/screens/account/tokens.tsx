/** API tokens of the account: listed, created, revoked. */
import { useSignal } from "@preact/signals";
import { api, type Schemas } from "../../api/client";
import { useQuery } from "../../api/query";
import { account, workspace, workspaces } from "../../app/session";
import { Confirm, Dialog } from "../../parts/dialog";
import { Field, Form } from "../../parts/form";
import { Empty, Load, Time } from "../../parts/parts";
import { ShownOnce } from "../../parts/shown-once";
import { done } from "../../parts/toast";
import { useAction } from "../../parts/tools";
import { account as texts } from "../../texts/account";
import { common } from "../../texts/common";

type Token = Schemas["TokenInList"];

export function Tokens() {
  const list = useQuery("tokens", (signal) => api.get("/api/v1/tokens", { query: { limit: 500 }, signal }));
  const isNew = useSignal(false);
  const revoked = useSignal<Token | undefined>(undefined);
  const action = useAction();
  function revoke(token: Token): void {
    action.run(async () => {
      await api.delete("/api/v1/tokens/{id}", { path: { id: token.id } });
      await list.reload();
      revoked.value = undefined;
      done(texts.revoked);
    });
  }
  const add = <button class="btn primary" onClick={() => (isNew.value = true)}>{texts.newToken}</button>;
  return (
    <div class="content">
      <div class="row"><p class="muted grow">{texts.tokensHint}</p>{add}</div>
      <Load query={list} rows={3}>
        {({ tokens }) => tokens.length === 0 ? <div class="card"><Empty title={texts.noTokens}><p>{texts.noTokensHint}</p>{add}</Empty></div> : (
          <div class="card scroll">
            <table class="stacked">
              <thead><tr><th>{texts.name}</th><th>{texts.scopes}</th><th class="wide-only">{texts.workspace}</th><th class="wide-only">{texts.expires}</th><th class="wide-only">{texts.used}</th><th><span class="hidden">{texts.actions}</span></th></tr></thead>
              <tbody>
                {tokens.map((token) => (
                  <tr key={token.id}>
                    <td class="name"><span class="cut block">{token.name}</span></td>
                    <td data-label={texts.scopes}>{token.scopes.join(", ")}</td>
                    <td class="wide-only muted" data-label={texts.workspace}>{workspaces.value.find(({ id }) => id === token.workspace_id)?.name ?? token.workspace_id}</td>
                    <td class="wide-only muted" data-label={texts.expires}>{token.expires_at === undefined ? texts.never : <Time at={token.expires_at} />}</td>
                    <td class="wide-only muted" data-label={texts.used}>{token.last_used_at === undefined ? texts.unused : <Time at={token.last_used_at} how="relative" />}</td>
                    <td class="num acts"><button class="btn quiet" aria-label={`${texts.revoke} ${token.name}`} onClick={() => (revoked.value = token)}>{texts.revoke}</button></td>
                  </tr>
                ))}
              </tbody>
            </table>
          </div>
        )}
      </Load>
      {isNew.value && <NewToken onCreated={list.reload} onClose={() => (isNew.value = false)} />}
      {revoked.value !== undefined && (
        <Confirm title={texts.revokeTitle(revoked.value.name)} action={texts.revoke} busy={action.busy} onConfirm={() => revoke(revoked.value!)} onClose={() => (revoked.value = undefined)}>
          <p class="muted">{texts.revokeHint}</p>
        </Confirm>
      )}
    </div>
  );
}

function NewToken({ onCreated, onClose }: { onCreated: () => Promise<void>; onClose: () => void }) {
  const error = useSignal<unknown>(undefined);
  const made = useSignal<string | undefined>(undefined);
  const action = useAction();
  const scopes = ["read", "run", "write", "mcp", ...(workspace.value?.role === "admin" ? ["members"] : []), ...(account.value?.role === "admin" ? ["admin"] : [])];
  function create(event: Event & { currentTarget: HTMLFormElement }): void {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    const life = String(form.get("expires_in"));
    action.run(async () => {
      const token = await api.post("/api/v1/tokens", { body: { name: String(form.get("name")), scopes: form.getAll("scope").map(String) as never, expires_in: life || null } });
      made.value = token.token;
      await onCreated();
    }, (reason) => (error.value = reason));
  }
  if (made.value !== undefined) {
    return <ShownOnce title={texts.createdTitle} hint={texts.createdHint} text={made.value} onClose={onClose} />;
  }
  return (
    <Dialog title={texts.newToken} onClose={onClose}>
      <Form error={error.value} onSubmit={create}>
        <Field label={texts.name}>{(id) => <input id={id} name="name" required autofocus maxLength={100} />}</Field>
        <fieldset class="plain stack tight">
          <legend class="label">{texts.scopes}</legend>
          {scopes.map((scope) => <label key={scope} class="check"><input type="checkbox" name="scope" value={scope} defaultChecked={scope === "read"} /><span>{scope} <span class="muted small">{texts.scopeHints[scope]}</span></span></label>)}
        </fieldset>
        <Field label={texts.expires}>{(id) => <select id={id} name="expires_in" defaultValue="90d">{Object.entries(texts.lifetimes).map(([value, label]) => <option key={value} value={value} selected={value === "90d"}>{label}</option>)}</select>}</Field>
        <div class="row"><span class="grow" /><button class="btn" type="button" onClick={onClose}>{common.cancel}</button><button class="btn primary" disabled={action.busy}>{texts.newToken}</button></div>
      </Form>
    </Dialog>
  );
}
