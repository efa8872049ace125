/** API tokens of the account: listed, created, revoked. */
import { useSignal } from "@preact/signals";
import { api, type Schemas } from "../../api/client";
import { useQuery } from "../../api/query";
import { location } from "../../app/router";
import { account, workspace, workspaces } from "../../app/session";
import { useQuestion } from "../../parts/dialog";
import { Field, FormDialog } from "../../parts/form";
import { PAGE, Pager } from "../../parts/pager";
import { Empty, Load, Time } from "../../parts/parts";
import { ShownOnce } from "../../parts/shown-once";
import { Table } from "../../parts/table";
import { account as texts } from "../../texts/account";

type Token = Schemas["TokenInList"];

export function Tokens() {
  const cursor = location.value.query.get("cursor") ?? "";
  const list = useQuery(`tokens ${cursor}`, (signal) => api.get("/api/v1/tokens", { query: { limit: PAGE, cursor }, signal }));
  const isNew = useSignal(false);
  const { ask, question } = useQuestion();
  const revoke = ({ id, name }: Token) => ask({
    title: texts.revokeTitle(name), action: texts.revoke, hint: texts.revokeHint, said: texts.revoked,
    run: () => api.delete("/api/v1/tokens/{id}", { path: { id } }).then(list.reload),
  });
  const add = <button class="btn primary" onClick={() => (isNew.value = true)}>{texts.newToken}</button>;
  return (
    <div class="content">
      <div class="row"><p class="muted grow">{texts.tokensHint}</p>{add}</div>
      <Load query={list} rows={3}>
        {({ tokens, next_cursor: next }) => tokens.length === 0 && cursor === "" ? <div class="card"><Empty title={texts.noTokens}><p>{texts.noTokensHint}</p>{add}</Empty></div> : (<>
          <Table
            rows={tokens}
            keyOf={({ id }) => id}
            columns={[
              { head: texts.name, look: "name", cell: ({ name }) => <span class="cut block">{name}</span> },
              { label: texts.scopes, cell: ({ scopes }) => scopes.join(", ") },
              { label: texts.workspace, look: "muted", cell: ({ workspace_id: place }) => workspaces.value.find(({ id }) => id === place)?.name ?? place },
              { label: texts.expires, look: "muted", cell: ({ expires_at: at }) => (at === undefined ? texts.never : <Time at={at} />) },
              { label: texts.used, look: "muted", cell: ({ last_used_at: at }) => (at === undefined ? texts.unused : <Time at={at} how="relative" />) },
            ]}
            acts={(token) => <button class="btn quiet" aria-label={`${texts.revoke} ${token.name}`} onClick={() => revoke(token)}>{texts.revoke}</button>}
          />
          <Pager next={next} />
        </>)}
      </Load>
      {isNew.value && <NewToken onCreated={list.reload} onClose={() => (isNew.value = false)} />}
      {question}
    </div>
  );
}

function NewToken({ onCreated, onClose }: { onCreated: () => Promise<void>; onClose: () => void }) {
  const made = useSignal<string | undefined>(undefined);
  const scopes = ["read", "run", "write", "mcp", ...(workspace.value?.role === "admin" ? ["members"] : []), ...(account.value?.role === "admin" ? ["admin"] : [])];
  async function create(form: FormData): Promise<void> {
    const token = await api.post("/api/v1/tokens", { body: { name: String(form.get("name")), scopes: form.getAll("scope").map(String) as never, expires_in: String(form.get("expires_in")) || null } });
    made.value = token.token;
    await onCreated();
  }
  if (made.value !== undefined) {
    return <ShownOnce title={texts.createdTitle} hint={texts.createdHint} text={made.value} onClose={onClose} />;
  }
  return (
    <FormDialog title={texts.newToken} action={texts.newToken} onSubmit={create} onClose={onClose}>
      <Field label={texts.name}>{(id) => <input id={id} name="name" required autofocus maxLength={100} />}</Field>
      <fieldset class="plain stack tight">
        <legend class="label">{texts.scopes}</legend>
        {scopes.map((scope) => <label key={scope} class="check"><input type="checkbox" name="scope" value={scope} defaultChecked={scope === "read"} /><span>{scope} <span class="muted small">{texts.scopeHints[scope]}</span></span></label>)}
      </fieldset>
      <Field label={texts.expires}>{(id) => <select id={id} name="expires_in" defaultValue="90d">{Object.entries(texts.lifetimes).map(([value, label]) => <option key={value} value={value} selected={value === "90d"}>{label}</option>)}</select>}</Field>
    </FormDialog>
  );
}
