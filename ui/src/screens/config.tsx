/** The configuration values of the workspace, which its flows read. */
import { useSignal } from "@preact/signals";
import { api, ApiError, etagOf, request, type Schemas } from "../api/client";
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
import { useAction } from "../parts/tools";
import { kindOf, textOf, valueOf } from "../parts/written-value";
import { common } from "../texts/common";
import { config as texts } from "../texts/config";

type ConfigValue = Schemas["ConfigValueInList"];

/** A value as it was read, and its state then. */
interface Edited {
  readonly name: string;
  readonly value: unknown;
  readonly etag: string;
}

export default function Config() {
  const list = useQuery(workspace.value?.id ?? "", (signal) => api.get("/api/v1/config", { signal }));
  /** The value that is edited; null for a new one. */
  const edited = useSignal<Edited | null | undefined>(undefined);
  const action = useAction();
  /** The name that a link to this screen has for a new one. */
  const asked = location.value.query.get("new") ?? undefined;
  const { ask, question } = useQuestion();
  const mayChange = may("editor");
  const add = mayChange && <button class="btn primary" onClick={() => (edited.value = null)}>{texts.add}</button>;
  function close(): void {
    edited.value = undefined;
    if (asked !== undefined) setQuery({ new: undefined });
  }
  const edit = (name: string) => void action.run(async () => {
    const { data, headers } = await request("get", "/api/v1/config/{name}", { path: { name } });
    edited.value = { name, value: data.value, etag: etagOf(headers) };
  });
  const remove = ({ name, used_by: users }: ConfigValue) => void action.run(async () => {
    // Another person may change it while the question is open.
    const { headers } = await request("get", "/api/v1/config/{name}", { path: { name } });
    ask({
      title: texts.deleteTitle(name), action: texts.deleteIt, said: texts.deleted(name),
      hint: <UsersHint flows={users} none={texts.deleteHint} some={texts.deleteUsed} />,
      run: () => api.delete("/api/v1/config/{name}", { path: { name }, headers: { "If-Match": etagOf(headers) } }).then(list.reload),
    });
  });
  return (
    <>
      <Head title={texts.title} actions={add} />
      <div class="content">
        <p class="muted">{texts.hint}</p>
        <Load query={list} rows={3}>
          {({ config: values }) => values.length === 0 ? (
            <div class="card"><Empty title={texts.empty}><p>{texts.emptyHint} {!add && common.forEditors}</p>{add}</Empty></div>
          ) : (
            <Table
              rows={values}
              keyOf={({ name }) => name}
              columns={[
                { head: texts.name, look: "name", cell: ({ name }) => <code>{name}</code> },
                { label: texts.value, look: "where", cell: ({ value }) => <code class="cut block" title={textOf(value)}>{JSON.stringify(value)}</code> },
                { label: texts.changed, look: "muted nowrap", cell: ({ updated_at: at }) => <Time at={at} how="relative" /> },
                { label: common.usedBy, look: "muted where", cell: ({ used_by: flows }) => <UsedBy flows={flows} /> },
              ]}
              acts={mayChange && ((each) => <>
                <button class="btn quiet" aria-label={`${texts.edit} ${each.name}`} disabled={action.busy} onClick={() => edit(each.name)}>{texts.edit}</button>
                <button class="btn quiet" aria-label={`${common.delete} ${each.name}`} onClick={() => remove(each)}>{common.delete}</button>
              </>)}
            />
          )}
        </Load>
      </div>
      {(edited.value !== undefined || (asked !== undefined && mayChange)) && <ValueDialog edited={edited.value ?? undefined} begun={asked} listed={list.data?.config.map(({ name }) => name) ?? []} onSaved={list.reload} onClose={close} />}
      {question}
    </>
  );
}

/** Args: edited: The value that is replaced; undefined for a new one. begun: The name that a new one begins with. */
function ValueDialog({ edited, begun = "", listed, onSaved, onClose }: { edited: Edited | undefined; begun?: string; listed: readonly string[]; onSaved: () => Promise<void>; onClose: () => void }) {
  const error = useSignal<unknown>(undefined);
  const starting = useStart();
  const typed = useSignal(begun);
  const text = useSignal(edited === undefined ? "" : textOf(edited.value));
  /** What the server has, though the list has not. */
  const taken = useSignal<string | undefined>(undefined);
  const isNew = edited === undefined;
  const name = isNew ? typed.value.trim() : edited.name;
  const value = valueOf(text.value);
  const exists = isNew && (listed.includes(name) || taken.value === name);
  function save(event: Event): void {
    event.preventDefault();
    if (exists || value === null) return;
    error.value = undefined;
    const body = { value };
    starting.run([name, body], async () => {
      // Another person may add or change it at this moment.
      await api.put("/api/v1/config/{name}", { path: { name }, body, headers: isNew ? { "If-None-Match": "*" } : { "If-Match": edited.etag } });
      await onSaved();
      done(texts.saved(name));
      onClose();
    }, (reason) => {
      if (isNew && reason instanceof ApiError && reason.status === 412) taken.value = name;
      else error.value = reason;
    });
  }
  return (
    <Dialog title={isNew ? texts.add : texts.editTitle(name)} onClose={onClose}>
      <Form error={error.value} onSubmit={save}>
        {isNew && (
          <Field label={texts.name} hint={texts.nameHint} fault={exists ? texts.exists(name) : undefined}>
            {(id, note) => <input id={id} aria-describedby={note} class="mono" name="name" required autofocus={begun === ""} autocomplete="off" spellcheck={false} value={typed.value} onInput={(event) => (typed.value = event.currentTarget.value)} />}
          </Field>
        )}
        <div class="stack tight">
          <Field label={texts.value} hint={texts.valueHint}>
            {(id, note) => <textarea id={id} aria-describedby={note} class="mono" name="value" rows={4} autofocus={!isNew || begun !== ""} autocomplete="off" spellcheck={false} value={text.value} onInput={(event) => (text.value = event.currentTarget.value)} />}
          </Field>
          <span class="muted small" role="status">{texts.kinds[kindOf(value)]}</span>
        </div>
        <div class="row"><span class="grow" /><button class="btn" type="button" onClick={onClose}>{common.cancel}</button><button class="btn primary" disabled={starting.busy || exists || value === null}>{common.save}</button></div>
      </Form>
    </Dialog>
  );
}
