/** The audit log, filtered by the server, with its filters in the address. */
import { api, type Schemas } from "../../api/client";
import { useQuery } from "../../api/query";
import { location, setQuery, to } from "../../app/router";
import { Empty, Load, Time } from "../../parts/parts";
import { shortId } from "../../parts/format";
import { admin as texts } from "../../texts/admin";
import { common } from "../../texts/common";
import { detailsOf, objectOf } from "./details";

type Entry = Schemas["AuditEntryAnswer"];
const PAGE = 50;

export function Audit() {
  const { query } = location.value;
  const cursor = query.get("cursor") ?? "";
  const filters = { action: query.get("action") ?? undefined, actor: query.get("actor") ?? undefined, outcome: (query.get("outcome") ?? undefined) as Entry["outcome"] | undefined };
  const list = useQuery(query.toString(), (signal) => api.get("/api/v1/audit", { query: { ...filters, limit: PAGE, cursor, count: true }, signal }));
  const accounts = useQuery("names", (signal) => api.get("/api/v1/accounts", { query: { limit: 1000 }, signal }));
  const nameOf = (id: string) => accounts.data?.accounts.find((each) => each.id === id)?.name ?? shortId(id);
  const change = (name: string) => (event: { currentTarget: { value: string } }) => setQuery({ [name]: event.currentTarget.value.trim() || undefined, cursor: undefined });
  const page = (cursor?: string) => to("/admin", { ...Object.fromEntries(query), cursor });
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
          {accounts.data?.accounts.map(({ id, name, email }) => <option key={id} value={id}>{name} ({email})</option>)}
          {filters.actor !== undefined && !accounts.data?.accounts.some(({ id }) => id === filters.actor) && <option value={filters.actor}>{shortId(filters.actor)}</option>}
        </select>
      </div>
      <Load query={list} rows={10}>
        {({ entries, total, total_is_exact: isExact, next_cursor: next }) => (
          <>
            {entries.length === 0 ? <div class="card"><Empty title={next === undefined ? texts.noEntries : texts.noEntriesYet}><button class="btn" onClick={() => setQuery({ action: undefined, actor: undefined, outcome: undefined, cursor: undefined })}>{texts.showAll}</button></Empty></div> : (
            <div class="card scroll">
              <table class="stacked">
                <thead><tr><th>{texts.when}</th><th>{texts.what}</th><th>{texts.outcome}</th><th class="wide-only">{texts.who}</th><th class="wide-only">{texts.object}</th><th class="wide-only">{texts.details}</th></tr></thead>
                <tbody>
                  {entries.map((entry) => (
                    <tr key={entry.seq}>
                      <td class="muted nowrap"><Time at={entry.at} /></td>
                      <td class="name"><code>{entry.action}</code></td>
                      <td><span class={entry.outcome === "done" ? "muted" : "bad"}>{texts.outcomes[entry.outcome]}</span></td>
                      <td class="wide-only muted" data-label={texts.who} title={entry.actor ?? undefined}>{entry.actor === null ? texts.anonymous : nameOf(entry.actor)}{entry.address !== "" && ` · ${entry.address}`}</td>
                      <td class="wide-only muted" data-label={texts.object} title={entry.object.id}>{entry.object.kind === "account" ? nameOf(entry.object.id) : objectOf(entry.object)}</td>
                      <td class="wide-only muted where whole"><span class="cut block small" title={JSON.stringify(entry.details, null, 1)}>{detailsOf(entry.details)}</span></td>
                    </tr>
                  ))}
                </tbody>
              </table>
            </div>
            )}
            <nav class="more" aria-label={common.next}>
              {total !== undefined && <span>{texts.entries(total, isExact !== false)}</span>}
              {cursor !== "" && <a class="link" href={page()}>{common.first}</a>}
              {next !== undefined && <a class="link" href={page(next)}>{common.older}</a>}
            </nav>
          </>
        )}
      </Load>
    </>
  );
}
