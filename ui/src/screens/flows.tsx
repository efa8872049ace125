/** The flows of the workspace: found by name and tag, with their last results and next starts. */
import { useSignal } from "@preact/signals";
import { api } from "../api/client";
import { fileOf } from "../api/files";
import { useQuery } from "../api/query";
import { location, setQuery, to } from "../app/router";
import { may, workspace } from "../app/session";
import { Head } from "../app/shell";
import { download } from "../parts/download";
import { later } from "../parts/later";
import { Pager } from "../parts/pager";
import { Empty, Load, Time } from "../parts/parts";
import { Table } from "../parts/table";
import { useAction } from "../parts/tools";
import { common } from "../texts/common";
import { flow as words } from "../texts/flow";
import { flows as texts } from "../texts/flows";
import { LastResult } from "./overview/last-result";

const PAGE = 50;
const SORTS = ["name", "-name", "-updated_at", "updated_at"] as const;

const ImportDialog = later(async () => (await import("./flows/import")).ImportDialog, { isAbove: true });

/** What the flows of the page have done last and do next, by the flow's id; undefined while that is not known. */
function useActivity(place: string, ids: readonly string[]) {
  const { data } = useQuery(
    `${place} ${ids.join(" ")}`,
    async (signal) => (ids.length === 0 ? [] : (await api.get("/api/v1/overview", { query: { flow_id: [...ids] }, signal })).flows),
    10_000,
  );
  return new Map(data?.map((each) => [each.flow_id, each]));
}

export default function Flows() {
  const { query } = location.value;
  const [tag, text, cursor] = [query.get("tag") ?? undefined, query.get("q") ?? undefined, query.get("cursor") ?? ""];
  const place = workspace.value?.id ?? "";
  const asked = query.get("sort");
  const sort = SORTS.find((each) => each === asked);
  const list = useQuery(`${place} ${tag} ${text} ${sort} ${cursor}`, (signal) => api.get("/api/v1/flows", { query: { tag: tag === undefined ? undefined : [tag], q: text, sort, cursor, count: true, limit: PAGE }, signal }));
  const activity = useActivity(place, list.data?.flows.map(({ id }) => id) ?? []);
  const isImporting = useSignal(false);
  const action = useAction();
  const save = () => action.run(async () => download("flows.zip", await fileOf("/api/v1/flows/export", "application/zip"), "application/zip"));
  const isFiltered = tag !== undefined || text !== undefined;
  const isFirstUse = list.data?.flows.length === 0 && !isFiltered && cursor === "";
  return (
    <>
      <Head
        title={texts.title}
        actions={<>
          {!isFirstUse && <button class="btn" disabled={action.busy} onClick={save}>{texts.export}</button>}
          {may("editor") && <><button class="btn" onClick={() => (isImporting.value = true)}>{texts.import}</button><a class="btn primary" href={to("/flows/new")}>{words.newFlow}</a></>}
        </>}
      >
        {!isFirstUse && <div class="filters">
          <input type="search" class="narrow-input" aria-label={texts.find} placeholder={texts.find} value={text ?? ""} onInput={(event) => setQuery({ q: event.currentTarget.value || undefined, cursor: undefined })} />
          {tag !== undefined && <button class="chip" aria-pressed="true" aria-label={texts.removeTag(tag)} onClick={() => setQuery({ tag: undefined, cursor: undefined })}>{tag} ×</button>}
        </div>}
      </Head>
      <div class="content">
        <Load query={list} rows={8}>
          {({ flows, total = flows.length, next_cursor: next }) =>
            flows.length === 0 ? (
              <div class="card">
                <Empty title={isFiltered ? texts.noMatch : texts.none}>
                  {isFiltered ? <button class="btn" onClick={() => setQuery({ tag: undefined, q: undefined, cursor: undefined })}>{texts.showAll}</button> : <><p>{texts.noneHint} {may("editor") ? texts.start : common.forEditors}</p>{may("editor") && <a class="btn primary" href={to("/flows/new")}>{words.newFlow}</a>}</>}
                </Empty>
              </div>
            ) : (
              <>
                <Table
                  look="flow-list"
                  rows={flows}
                  keyOf={({ id }) => id}
                  columns={[
                    { sort: { label: texts.name, orders: ["name", "-name"] }, look: "name", cell: ({ id, name, description }) => <><a class="cut" data-nav href={to(`/flows/${id}`)} title={name}>{name}</a>{description !== "" && <span class="muted small cut block" title={description}>{description}</span>}</> },
                    { head: texts.last, cell: ({ id, disabled }) => (disabled ? <span class="tag">{texts.disabled}</span> : activity.has(id) && <LastResult flow={id} executions={activity.get(id)!.executions} />) },
                    { head: texts.tags, look: "wide-only", cell: ({ tags }) => <span class="row tight labels">{tags.map((each) => <button key={each} class="chip cut" title={each} onClick={() => setQuery({ tag: each, cursor: undefined })}>{each}</button>)}</span> },
                    { head: texts.next, look: "muted nowrap wide-only", cell: ({ id }) => activity.get(id)?.next_start_at !== undefined && <Time at={activity.get(id)!.next_start_at!} /> },
                    { head: texts.revision, look: "num wide-only", cell: ({ revision }) => revision },
                    { sort: { label: texts.changed, orders: ["-updated_at", "updated_at"] }, look: "muted nowrap least", cell: ({ updated_at: at }) => <Time at={at} how="relative" /> },
                  ]}
                />
                <Pager next={next} count={(cursor !== "" || next !== undefined) && common.shown(flows.length, total)} />
              </>
            )
          }
        </Load>
      </div>
      {isImporting.value && <ImportDialog onImported={list.reload} onClose={() => (isImporting.value = false)} />}
    </>
  );
}
