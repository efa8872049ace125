/** The triggers of all flows of the workspace. */
import { api } from "../api/client";
import { useQuery } from "../api/query";
import { location, setQuery, to } from "../app/router";
import { workspace } from "../app/session";
import { Head } from "../app/shell";
import { CurlButton } from "../parts/curl";
import { Pager } from "../parts/pager";
import { Empty, Load, Tabs } from "../parts/parts";
import { triggers as texts } from "../texts/triggers";
import { Calendar } from "./triggers/calendar";
import type { Trigger } from "./triggers/parts";
import { TriggerTable } from "./triggers/table";

const PAGE = 100;

export default function Triggers() {
  const { query } = location.value;
  const isCalendar = query.get("view") === "calendar";
  return (
    <>
      <Head title={texts.title}>
        <Tabs label={texts.views} tabs={[{ label: texts.list, href: to("/triggers"), current: !isCalendar }, { label: texts.calendar, href: to("/triggers", { view: "calendar" }), current: isCalendar }]} />
      </Head>
      {isCalendar ? <div class="content"><Calendar opened={query.get("trigger") ?? undefined} /></div> : <List />}
    </>
  );
}

function List() {
  const { query } = location.value;
  const asked = query.get("type") ?? "";
  const type = asked in texts.types ? (asked as Trigger["type"]) : undefined;
  const cursor = query.get("cursor") ?? "";
  const list = useQuery(
    `${workspace.value?.id} ${type} ${cursor}`,
    (signal) => api.get("/api/v1/triggers", { query: { type, limit: PAGE, cursor, count: true }, signal }),
    15_000,
  );
  const choose = (value: string | undefined) => setQuery({ type: value, cursor: undefined, trigger: undefined });
  return (
      <div class="content">
        <div class="filters" role="group" aria-label={texts.type}>
          <button class="chip" aria-pressed={type === undefined} onClick={() => choose(undefined)}>{texts.all}</button>
          {Object.entries(texts.types).map(([value, label]) => <button key={value} class="chip" aria-pressed={type === value} onClick={() => choose(value)}>{label}</button>)}
        </div>
        <Load query={list} rows={6}>
          {({ triggers, total, total_is_exact: isExact, next_cursor: next }) => triggers.length > 0 ? (
            <>
              <TriggerTable triggers={triggers} showsFlow reload={list.reload} />
              <Pager next={next} drops={["trigger"]} count={total !== undefined && `${texts.count(total)}${isExact === false ? "+" : ""}`}><CurlButton path="/api/v1/triggers" query={{ type, limit: PAGE, cursor }} /></Pager>
            </>
          ) : (
            <div class="card">
              {type !== undefined
                ? <Empty title={texts.noMatch}><button class="btn" onClick={() => choose(undefined)}>{texts.all}</button></Empty>
                : <Empty title={texts.empty}><p>{texts.emptyHint}</p><pre>{texts.example}</pre><a class="btn" href={to("/flows")}>{texts.toFlows}</a></Empty>}
            </div>
          )}
        </Load>
      </div>
  );
}
