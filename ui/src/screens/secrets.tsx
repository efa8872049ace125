/** The secrets of the workspace: names alone; values are only written. */
import { useSignal } from "@preact/signals";
import { api, ApiError, type Schemas } from "../api/client";
import { useQuery } from "../api/query";
import { location, setQuery } from "../app/router";
import { may, workspace } from "../app/session";
import { Head } from "../app/shell";
import { Dialog, useQuestion } from "../parts/dialog";
import { Field, Form } from "../parts/form";
import { Empty, Load, Time } from "../parts/parts";
import { useStart } from "../parts/start";
import { Table } from "../parts/table";
import { done } from "../parts/toast";
import { UsedBy, UsersHint } from "../parts/used-by";
import { common } from "../texts/common";
import { secrets as texts } from "../texts/secrets";

type Secret = Schemas["SecretInList"];

export default function Secrets() {
  const id = workspace.value?.id ?? "";
  const list = useQuery(id, (signal) => api.get("/api/v1/workspaces/{id}/secrets", { path: { id }, signal }));
  /** The name that is written; empty for a new secret. */
  const written = useSignal<string | undefined>(undefined);
  /** The name that a link to this screen has for a new one. */
  const asked = location.value.query.get("new") ?? undefined;
  const { ask, question } = useQuestion();
  const mayChange = may("editor");
  const add = mayChange && <button class="btn primary" onClick={() => (written.value = "")}>{texts.add}</button>;
  function close(): void {
    written.value = undefined;
    if (asked !== undefined) setQuery({ new: undefined });
  }
  const remove = ({ key, used_by: users }: Secret) => ask({
    title: texts.deleteTitle(key), action: texts.deleteIt, said: texts.deleted(key),
    hint: <UsersHint flows={users} none={texts.deleteHint} some={texts.deleteUsed} />,
    run: () => api.delete("/api/v1/workspaces/{id}/secrets/{key}", { path: { id, key } }).then(list.reload),
  });
  return (
    <>
      <Head title={texts.title} actions={add} />
      <div class="content">
        <p class="muted">{texts.hint}</p>
        <Load query={list} rows={3}>
          {({ secrets }) => secrets.length === 0 ? (
            <div class="card"><Empty title={texts.empty}><p>{texts.emptyHint} {!add && common.forEditors}</p>{add}</Empty></div>
          ) : (
            <Table
              rows={secrets}
              keyOf={({ key }) => key}
              columns={[
                { head: texts.name, look: "name", cell: ({ key }) => <code>{key}</code> },
                { label: texts.created, look: "muted", cell: ({ created_at: at }) => <Time at={at} how="relative" /> },
                { label: texts.changed, look: "muted nowrap", cell: ({ updated_at: at }) => <Time at={at} how="relative" /> },
                { label: texts.used, look: "muted nowrap", cell: ({ last_used_at: at }) => (at === undefined ? texts.never : <Time at={at} how="relative" />) },
                { label: common.usedBy, look: "muted where", cell: ({ used_by: flows }) => <UsedBy flows={flows} /> },
              ]}
              acts={mayChange && ((secret) => <>
                <button class="btn quiet" aria-label={`${texts.replace} ${secret.key}`} onClick={() => (written.value = secret.key)}>{texts.replace}</button>
                <button class="btn quiet" aria-label={`${common.delete} ${secret.key}`} onClick={() => remove(secret)}>{common.delete}</button>
              </>)}
            />
          )}
        </Load>
      </div>
      {(written.value !== undefined || (asked !== undefined && mayChange)) && <SecretDialog name={written.value ?? ""} begun={asked} listed={list.data?.secrets.map(({ key }) => key) ?? []} onSaved={list.reload} onClose={close} />}
      {question}
    </>
  );
}

/** Args: name: The secret whose value is replaced; empty for a new one. begun: The name that a new one begins with. */
export function SecretDialog({ name = "", begun = "", listed, onSaved, onClose }: { name?: string; begun?: string; listed: readonly string[]; onSaved: (name: string) => unknown; onClose: () => void }) {
  const error = useSignal<unknown>(undefined);
  const starting = useStart();
  const replaced = useSignal(name);
  const typed = useSignal(begun);
  const value = useSignal("");
  const isShown = useSignal(false);
  /** What the server has, though the list has not. */
  const taken = useSignal<string | undefined>(undefined);
  const isNew = replaced.value === "";
  const key = isNew ? typed.value.trim() : replaced.value;
  const exists = isNew && (listed.includes(key) || taken.value === key);
  function save(event: Event): void {
    event.preventDefault();
    if (exists) return;
    error.value = undefined;
    const body = { key, value: value.value };
    starting.run([isNew, body], async (headers) => {
      // Another person may add it at this moment.
      await api.post("/api/v1/workspaces/{id}/secrets", { path: { id: workspace.peek()!.id }, body, headers: isNew ? { ...headers, "If-None-Match": "*" } : headers });
      await onSaved(key);
      done(texts.saved(key));
      onClose();
    }, (reason) => {
      if (reason instanceof ApiError && reason.status === 412) taken.value = key;
      else error.value = reason;
    });
  }
  return (
    <Dialog title={isNew ? texts.add : texts.replaceTitle(key)} onClose={onClose}>
      <Form error={error.value} onSubmit={save}>
        {isNew && (
          <Field label={texts.name} hint={texts.nameHint} fault={exists ? texts.exists(key) : undefined}>
            {(id, note) => <input id={id} aria-describedby={note} class="mono" name="key" required autofocus={begun === ""} autocomplete="off" spellcheck={false} value={typed.value} onInput={(event) => (typed.value = event.currentTarget.value)} />}
          </Field>
        )}
        {exists && <div><button class="btn" type="button" onClick={() => (replaced.value = key)}>{texts.replaceIt(key)}</button></div>}
        <div class="stack tight">
          <Field label={texts.value} hint={texts.valueHint}>
            {(id, note) => <textarea id={id} aria-describedby={note} class={isShown.value ? "secret" : "secret masked"} name="value" rows={4} required autofocus={!isNew || begun !== ""} autocomplete="off" autocapitalize="off" spellcheck={false} value={value.value} onInput={(event) => (value.value = event.currentTarget.value)} />}
          </Field>
          <div class="row">
            <button class="btn small-btn" type="button" aria-pressed={isShown.value} onClick={() => (isShown.value = !isShown.value)}>{texts.show}</button>
            {value.value.includes("\n") && <span class="muted small" role="status">{texts.lines(value.value.split("\n").length, value.value.endsWith("\n"))}</span>}
          </div>
        </div>
        <div class="row"><span class="grow" /><button class="btn" type="button" onClick={onClose}>{common.cancel}</button><button class="btn primary" disabled={starting.busy || exists}>{common.save}</button></div>
      </Form>
    </Dialog>
  );
}
