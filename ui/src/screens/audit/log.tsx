/** The audit log of the installation or of a workspace, filtered by the server, with its filters in the address. */
import { api, type Schemas } from "../../api/client";
import { fileOf } from "../../api/files";
import { useQuery } from "../../api/query";
import { location, setQuery, to } from "../../app/router";
import { download } from "../../parts/download";
import { shortId } from "../../parts/format";
import { Pager } from "../../parts/pager";
import { Empty, Load, Time } from "../../parts/parts";
import { Period } from "../../parts/period";
import { useAction } from "../../parts/tools";
import { Table } from "../../parts/table";
import { audit as texts } from "../../texts/audit";
import { common } from "../../texts/common";
import { detailsOf, objectOf, placeOf, programOf } from "./details";

type Entry = Schemas["AuditEntryAnswer"];
interface Actor { id: string; name: string; email: string }
const PAGE = 50;
const NDJSON = "application/x-ndjson";
const FILTERS = ["action", "actor", "outcome", "object_kind", "object_id", "since", "until"] as const;

/** The token or the job that has acted for the account. */
function Program({ of, isLink }: { of: string; isLink: boolean }) {
  const found = programOf(of);
  return found === undefined ? null : <> · {isLink ? <a class="link" href={to(found.place)}>{found.kind}</a> : found.kind}</>;
}

/** Args: of: The id of a workspace; undefined for the installation. */
export function AuditLog({ of }: { of?: string }) {
  const { query } = location.value;
  const cursor = query.get("cursor") ?? "";
  const value = (name: string) => query.get(name) || undefined;
  const filters = {
    action: value("action"), actor: value("actor"), outcome: value("outcome") as Entry["outcome"] | undefined,
    object_kind: value("object_kind"), object_id: value("object_id"), since: value("since"), until: value("until"),
  };
  const list = useQuery(`${of} ${query}`, (signal) => {
    const wanted = { ...filters, limit: PAGE, cursor, count: true };
    return of === undefined ? api.get("/api/v1/audit", { query: wanted, signal }) : api.get("/api/v1/workspaces/{id}/audit", { path: { id: of }, query: wanted, signal });
  });
  const people = useQuery(of ?? "", async (signal): Promise<Actor[]> => {
    if (of === undefined) return (await api.get("/api/v1/accounts", { query: { limit: 1000 }, signal })).accounts;
    const { members } = await api.get("/api/v1/workspaces/{id}/members", { path: { id: of }, query: { limit: 1000 }, signal });
    return members.map(({ account_id: id, name, email }) => ({ id, name, email }));
  });
  const action = useAction();
  const nameOf = (id: string) => people.data?.find((each) => each.id === id)?.name ?? shortId(id);
  const named = ({ kind, id }: Entry["object"]) => (kind === "account" ? nameOf(id) : objectOf({ kind, id }));
  const set = (values: Record<string, string | undefined>) => setQuery({ ...values, cursor: undefined });
  const change = (name: string) => (event: { currentTarget: { value: string } }) => set({ [name]: event.currentTarget.value.trim() || undefined });
  const object = filters.object_id === undefined ? undefined : named({ kind: filters.object_kind ?? "", id: filters.object_id });
  // The log of the installation has entries of all workspaces.
  const placed = (entry: Entry) => (of === undefined ? undefined : placeOf(entry));
  function save(): void {
    action.run(async () => {
      const lines = of === undefined ? await fileOf("/api/v1/audit", NDJSON, { query: filters }) : await fileOf("/api/v1/workspaces/{id}/audit", NDJSON, { path: { id: of }, query: filters });
      download("audit.ndjson", lines, NDJSON);
    });
  }
  return (
    <>
      <div class="filters">
        <select aria-label={texts.outcome} value={filters.outcome ?? ""} onChange={change("outcome")}>
          <option value="">{texts.anyOutcome}</option>
          {Object.entries(texts.outcomes).map(([value, label]) => <option key={value} value={value}>{label}</option>)}
        </select>
        <input type="search" aria-label={texts.actionFilter} placeholder={texts.actionFilter} value={filters.action} onChange={change("action")} />
        <select aria-label={texts.who} value={filters.actor ?? ""} onChange={change("actor")}>
          <option value="">{texts.anyActor}</option>
          {people.data?.map(({ id, name, email }) => <option key={id} value={id}>{name} ({email})</option>)}
          {filters.actor !== undefined && !people.data?.some(({ id }) => id === filters.actor) && <option value={filters.actor}>{shortId(filters.actor)}</option>}
        </select>
        <Period since={filters.since} until={filters.until} onChange={(bound, moment) => set({ [bound]: moment })} />
        {object !== undefined && <button class="chip" aria-pressed="true" aria-label={texts.without(object)} onClick={() => set({ object_kind: undefined, object_id: undefined })}>{object} ×</button>}
        <button class="btn small-btn right" disabled={action.busy} onClick={save}>{common.saveFile}</button>
      </div>
      <Load query={list} rows={10}>
        {({ entries, total, total_is_exact: isExact, next_cursor: next }) => (
          <>
            {entries.length === 0 ? <div class="card"><Empty title={next === undefined ? texts.noEntries : texts.noEntriesYet}><button class="btn" onClick={() => set(Object.fromEntries(FILTERS.map((name) => [name, undefined])))}>{texts.showAll}</button></Empty></div> : (
              <Table
                rows={entries}
                keyOf={({ seq }) => seq}
                columns={[
                  { head: texts.when, look: "muted nowrap", cell: ({ at }) => <Time at={at} /> },
                  { head: texts.what, look: "name", cell: ({ action }) => <code>{action}</code> },
                  { head: texts.outcome, cell: ({ outcome }) => <span class={outcome === "done" ? "muted" : "bad"}>{texts.outcomes[outcome]}</span> },
                  { label: texts.who, look: "muted", title: ({ actor }) => actor ?? undefined, cell: (entry) => <>{entry.actor === null ? texts.anonymous : nameOf(entry.actor)}<Program of={entry.credential} isLink={of !== undefined} />{entry.address !== "" && ` · ${entry.address}`}</> },
                  { label: texts.object, look: "muted", title: ({ object: { id } }) => id, cell: (entry) => <><button class="quiet-link" aria-label={texts.onlyObject(named(entry.object))} onClick={() => set({ object_kind: entry.object.kind, object_id: entry.object.id })}>{named(entry.object)}</button>{placed(entry) && <> <a class="link small" href={to(placed(entry)!)} aria-label={texts.openObject(named(entry.object))}>{texts.open}</a></>}</> },
                  { head: texts.details, look: "muted where whole details", cell: ({ details }) => <span class="cut block small" title={JSON.stringify(details, null, 1)}>{detailsOf(details)}</span> },
                ]}
              />
            )}
            <Pager next={next} label={common.older} count={total !== undefined && texts.entries(total, isExact !== false)} />
          </>
        )}
      </Load>
    </>
  );
}
