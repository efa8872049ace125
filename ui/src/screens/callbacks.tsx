/** The callbacks of the workspace: whom they tell, and whether that works. */
import { useSignal } from "@preact/signals";
import { api } from "../api/client";
import { useQuery } from "../api/query";
import { location, setQuery, to } from "../app/router";
import { may, workspace } from "../app/session";
import { Head } from "../app/shell";
import { CurlButton } from "../parts/curl";
import { Pager } from "../parts/pager";
import { Empty, Load } from "../parts/parts";
import { Table } from "../parts/table";
import { common } from "../texts/common";
import { callbacks as texts } from "../texts/callbacks";
import { CallbackDialog } from "./callbacks/details";
import { NewCallback } from "./callbacks/form";
import { CallbackState, TestButton, nameOf } from "./callbacks/parts";

const PAGE = 100;

export default function Callbacks() {
  const { query } = location.value;
  const cursor = query.get("cursor") ?? "";
  const list = useQuery(
    `${workspace.value?.id} ${cursor}`,
    (signal) => api.get("/api/v1/callbacks", { query: { limit: PAGE, cursor, count: true }, signal }),
    15_000,
  );
  const isNew = useSignal(false);
  const add = may("editor") && <button class="btn primary" onClick={() => (isNew.value = true)}>{texts.add}</button>;
  const opened = list.data?.callbacks.find(({ id }) => id === query.get("callback"));
  return (
    <>
      <Head title={texts.title} actions={add} />
      <div class="content">
        <p class="muted">{texts.hint}</p>
        <Load query={list} rows={4}>
          {({ callbacks, total, next_cursor: next }) => callbacks.length === 0 ? (
            <div class="card"><Empty title={texts.empty}><p>{add ? texts.emptyHint : common.forEditors}</p>{add}</Empty></div>
          ) : (
            <>
              <Table
                rows={callbacks}
                keyOf={({ id }) => id}
                columns={[
                  {
                    head: texts.name, look: "name",
                    cell: (callback) => <>
                      <a class="cut" data-nav href={to("/callbacks", { callback: callback.id, cursor: location.value.query.get("cursor") ?? undefined })} title={nameOf(callback)}>{nameOf(callback)}</a>
                      {callback.name !== "" && <span class="muted small cut block" title={callback.url}>{callback.url}</span>}
                    </>,
                  },
                  { label: texts.format, look: "muted nowrap", cell: ({ format }) => texts.formats[format] },
                  { head: texts.events, look: "muted where whole", cell: ({ events }) => <span class="cut block" title={events.join(", ")}>{events.join(", ")}</span> },
                  { head: texts.state, cell: (callback) => <><CallbackState of={callback} />{callback.last_error !== undefined && <span class="muted small cut block" title={callback.last_error}>{callback.last_error}</span>}</> },
                ]}
                acts={(callback) => <TestButton callback={callback} onDone={list.reload} />}
              />
              <Pager next={next} count={total !== undefined && texts.count(total)}><CurlButton path="/api/v1/callbacks" query={{ limit: PAGE, cursor }} /></Pager>
            </>
          )}
        </Load>
      </div>
      {isNew.value && <NewCallback onCreated={list.reload} onClose={() => (isNew.value = false)} />}
      {opened !== undefined && <CallbackDialog key={opened.id} callback={opened} reload={list.reload} onClose={() => setQuery({ callback: undefined })} />}
    </>
  );
}
