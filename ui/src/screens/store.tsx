/** The store of the workspace: what its flows keep between executions. */
import { useSignal } from "@preact/signals";
import { api, etagOf, request, type Schemas } from "../api/client";
import { useQuery } from "../api/query";
import { location, setQuery, to } from "../app/router";
import { may, workspace } from "../app/session";
import { Head } from "../app/shell";
import { CurlButton } from "../parts/curl";
import { Dialog, useQuestion } from "../parts/dialog";
import { Field } from "../parts/form";
import { bytes, present } from "../parts/format";
import { Json } from "../parts/json";
import { Pager } from "../parts/pager";
import { Empty, Load, Time } from "../parts/parts";
import { Table } from "../parts/table";
import { CopyButton } from "../parts/tools";
import { ValueDialog } from "../parts/value-dialog";
import { visible } from "../parts/visible";
import { textOf } from "../parts/written-value";
import { common } from "../texts/common";
import { store as texts } from "../texts/store";
import { value as words } from "../texts/value";

type Entry = Schemas["EntryAnswer"];
type Place = Pick<Entry, "namespace" | "key">;
type Found = Entry & { readonly etag: string };
const PAGE = 100;
const DEFAULT = "default";

const Expiry = ({ at }: { at: string | null }) => (at === null ? <>{texts.never}</> : <Time at={at} how="relative" />);

export default function Store() {
  const { query } = location.value;
  const cursor = query.get("cursor") ?? "";
  const wanted = { namespace: query.get("namespace") || undefined, prefix: query.get("prefix") || undefined, limit: PAGE, cursor };
  const list = useQuery(JSON.stringify([workspace.value?.id, wanted]), (signal) => api.get("/api/v1/store", { query: { ...wanted, count: true }, signal }));
  const isNew = useSignal(false);
  const mayChange = may("editor");
  const add = mayChange && <button class="btn primary" onClick={() => (isNew.value = true)}>{texts.add}</button>;
  const key = query.get("key");
  const opened = key ? { key, namespace: query.get("of") || DEFAULT } : undefined;
  const isFiltered = (wanted.namespace ?? wanted.prefix) !== undefined;
  const choose = (values: Record<string, string | undefined>) => setQuery({ ...values, cursor: undefined });
  const filter = (name: "namespace" | "prefix", most: number) => (
    <input type="search" aria-label={texts[name]} placeholder={texts[name]} maxLength={most} value={wanted[name] ?? ""} onChange={(event) => choose({ [name]: event.currentTarget.value || undefined })} />
  );
  return (
    <>
      <Head title={texts.title} actions={add} />
      <div class="content">
        <p class="muted">{texts.hint}</p>
        <div class="filters">{filter("namespace", 128)}{filter("prefix", 256)}</div>
        <Load query={list} rows={4}>
          {({ entries, total, total_is_exact: isExact, next_cursor: next }) => entries.length > 0 ? (
            <>
              <Table
                rows={entries}
                keyOf={({ namespace, key }) => JSON.stringify([namespace, key])}
                columns={[
                  { head: texts.key, look: "name", cell: ({ namespace, key }) => <a class="cut mono" data-nav href={to("/store", { ...Object.fromEntries(query), of: namespace, key })} title={visible(key)}>{visible(key)}</a> },
                  { label: texts.namespace, look: "muted where", cell: ({ namespace }) => <span class="cut block" title={visible(namespace)}>{visible(namespace)}</span> },
                  { label: texts.size, look: "muted nowrap", cell: ({ size }) => bytes(size) },
                  { label: texts.expires, look: "muted nowrap", cell: ({ expires_at: at }) => <Expiry at={at} /> },
                  { label: words.changed, look: "muted nowrap", cell: ({ updated_at: at }) => <Time at={at} how="relative" /> },
                ]}
              />
              <Pager next={next} drops={["of", "key"]} count={total !== undefined && `${texts.count(total)}${isExact === false ? "+" : ""}`}><CurlButton path="/api/v1/store" query={wanted} /></Pager>
            </>
          ) : (
            <div class="card">
              {isFiltered || cursor !== ""
                ? <Empty title={texts.noMatch}><button class="btn" onClick={() => choose({ namespace: undefined, prefix: undefined })}>{texts.showAll}</button></Empty>
                : <Empty title={texts.empty}><p>{texts.emptyHint}</p><pre>{texts.example}</pre><CopyButton text={texts.example} />{add || <p>{common.forEditors}</p>}</Empty>}
            </div>
          )}
        </Load>
      </div>
      {isNew.value && <EntryForm edited={undefined} onSaved={list.reload} onClose={() => (isNew.value = false)} />}
      {opened !== undefined && <EntryDialog key={JSON.stringify(opened)} at={opened} reload={list.reload} onClose={() => setQuery({ of: undefined, key: undefined })} />}
    </>
  );
}

function EntryDialog({ at, reload, onClose }: { at: Place; reload: () => Promise<void>; onClose: () => void }) {
  const entry = useQuery(`${workspace.value?.id}`, async (signal): Promise<Found> => {
    const { data, headers } = await request("get", "/api/v1/store/entry", { query: at, signal });
    return { ...data, etag: etagOf(headers) };
  });
  const isEdited = useSignal(false);
  const { ask, question } = useQuestion();
  const { data } = entry;
  const name = visible(at.key);
  const remove = ({ etag }: Found) => ask({
    title: words.deleteTitle(name), action: texts.deleteIt, said: words.deleted(name), hint: texts.deleteHint,
    run: async () => {
      try {
        await api.delete("/api/v1/store/entry", { query: at, headers: { "If-Match": etag } });
      } catch (error) {
        // What the question is about may not be what is there.
        void entry.reload();
        throw error;
      }
      onClose();
      await reload();
    },
  });
  function closeForm(): void {
    isEdited.value = false;
    void entry.reload();
  }
  if (isEdited.value && data !== undefined) return <EntryForm edited={data} onSaved={reload} onClose={closeForm} />;
  return (
    <>
      <Dialog
        title={name}
        onClose={onClose}
        actions={data !== undefined && <>
          <CopyButton text={textOf(data.value)} />
          {may("editor") && <>
            <button class="btn" onClick={() => (isEdited.value = true)}>{words.edit}</button>
            <button class="btn danger" onClick={() => remove(data)}>{common.delete}</button>
          </>}
        </>}
      >
        <Load query={entry} rows={3}>
          {({ value, namespace, size, expires_at: end, created_at: created, updated_at: changed }) => (
            <>
              <Json value={value} label={words.value} />
              <dl class="facts-list">
                <dt>{texts.namespace}</dt><dd class="wrap">{visible(namespace)}</dd>
                <dt>{texts.size}</dt><dd>{bytes(size)}</dd>
                <dt>{texts.expires}</dt><dd><Expiry at={end} /></dd>
                <dt>{texts.created}</dt><dd><Time at={created} /></dd>
                <dt>{words.changed}</dt><dd><Time at={changed} /></dd>
              </dl>
            </>
          )}
        </Load>
      </Dialog>
      {question}
    </>
  );
}

/** Args: edited: The entry that is replaced; undefined for a new one. */
function EntryForm({ edited, onSaved, onClose }: { edited: Found | undefined; onSaved: () => Promise<void>; onClose: () => void }) {
  const at = { namespace: useSignal(edited?.namespace ?? DEFAULT), key: useSignal(edited?.key ?? "") };
  const place = { namespace: at.namespace.value, key: at.key.value };
  const end = edited?.expires_at ?? null;
  const expiry = useSignal(end === null ? "never" : "kept");
  const ttl = useSignal("");
  const kept = () => (end === null || expiry.value === "never" ? null : `${Math.max(Date.parse(end) - present(), 1)}ms`);
  const text = (name: "namespace" | "key", most: number) => (id: string, note: string | undefined) => (
    <input id={id} aria-describedby={note} class="mono" name={name} required autofocus={name === "key"} maxLength={most} autocomplete="off" spellcheck={false} value={at[name].value} onInput={(event) => (at[name].value = event.currentTarget.value)} />
  );
  return (
    <ValueDialog
      title={texts.add} edited={edited} name={visible(place.key)} place={JSON.stringify(place)} takesNull hint={texts.valueHint}
      naming={(fault) => <>
        <Field label={texts.key} hint={texts.keyHint} fault={fault}>{text("key", 256)}</Field>
        <Field label={texts.namespace}>{text("namespace", 128)}</Field>
      </>}
      save={(value, headers) => api.put("/api/v1/store/entry", { query: place, body: { value, ttl: expiry.value === "after" ? ttl.value.trim() : kept() }, headers }).then(onSaved)}
      onClose={onClose}
    >
      <Field label={texts.expires}>
        {(id) => (
          <select id={id} value={expiry.value} onChange={(event) => (expiry.value = event.currentTarget.value)}>
            {end !== null && <option value="kept">{new Date(end).toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "short" })}</option>}
            <option value="never">{texts.never}</option>
            <option value="after">{texts.after}</option>
          </select>
        )}
      </Field>
      {expiry.value === "after" && <Field label={texts.ttl} hint={texts.ttlHint}>{(id, note) => <input id={id} aria-describedby={note} name="ttl" required autocomplete="off" spellcheck={false} value={ttl.value} onInput={(event) => (ttl.value = event.currentTarget.value)} />}</Field>}
    </ValueDialog>
  );
}
