/** The configuration values of the workspace, which its flows read. */
import { useSignal } from "@preact/signals";
import { api, etagOf, request, type Schemas } from "../api/client";
import { useQuery } from "../api/query";
import { location, setQuery } from "../app/router";
import { may, workspace } from "../app/session";
import { Head } from "../app/shell";
import { useQuestion } from "../parts/dialog";
import { Field } from "../parts/form";
import { Empty, Load, Time } from "../parts/parts";
import { Table } from "../parts/table";
import { UsedBy, UsersHint } from "../parts/used-by";
import { useAction } from "../parts/tools";
import { ValueDialog, type Read } from "../parts/value-dialog";
import { textOf } from "../parts/written-value";
import { common } from "../texts/common";
import { config as texts } from "../texts/config";
import { value as words } from "../texts/value";

type ConfigValue = Schemas["ConfigValueInList"];

interface Edited extends Read {
  readonly name: string;
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
      title: words.deleteTitle(name), action: texts.deleteIt, said: words.deleted(name),
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
                { label: words.value, look: "where", cell: ({ value }) => <code class="cut block" title={textOf(value)}>{JSON.stringify(value)}</code> },
                { label: words.changed, look: "muted nowrap", cell: ({ updated_at: at }) => <Time at={at} how="relative" /> },
                { label: common.usedBy, look: "muted where", cell: ({ used_by: flows }) => <UsedBy flows={flows} /> },
              ]}
              acts={mayChange && ((each) => <>
                <button class="btn quiet" aria-label={`${words.edit} ${each.name}`} disabled={action.busy} onClick={() => edit(each.name)}>{words.edit}</button>
                <button class="btn quiet" aria-label={`${common.delete} ${each.name}`} onClick={() => remove(each)}>{common.delete}</button>
              </>)}
            />
          )}
        </Load>
      </div>
      {(edited.value !== undefined || (asked !== undefined && mayChange)) && <ConfigDialog edited={edited.value ?? undefined} begun={asked} listed={list.data?.config.map(({ name }) => name) ?? []} onSaved={list.reload} onClose={close} />}
      {question}
    </>
  );
}

/** Args: edited: The value that is replaced; undefined for a new one. begun: The name that a new one begins with. */
export function ConfigDialog({ edited, begun = "", listed, onSaved, onClose }: { edited?: Edited; begun?: string; listed: readonly string[]; onSaved: (name: string) => unknown; onClose: () => void }) {
  const typed = useSignal(begun);
  const name = edited?.name ?? typed.value.trim();
  return (
    <ValueDialog
      title={texts.add} edited={edited} name={name} isListed={listed.includes(name)} isNamed={edited !== undefined || begun !== ""} hint={texts.valueHint}
      naming={(fault) => (
        <Field label={texts.name} hint={texts.nameHint} fault={fault}>
          {(id, note) => <input id={id} aria-describedby={note} class="mono" name="name" required autofocus={begun === ""} autocomplete="off" spellcheck={false} value={typed.value} onInput={(event) => (typed.value = event.currentTarget.value)} />}
        </Field>
      )}
      save={(value, headers) => api.put("/api/v1/config/{name}", { path: { name }, body: { value }, headers }).then(() => onSaved(name))}
      onClose={onClose}
    />
  );
}
