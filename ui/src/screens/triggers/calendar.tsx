/** When schedules start flows in the next four weeks. */
import { api } from "../../api/client";
import { useQuery } from "../../api/query";
import { setQuery, to } from "../../app/router";
import { workspace } from "../../app/session";
import { now } from "../../parts/format";
import { Empty, Load } from "../../parts/parts";
import { triggers as texts } from "../../texts/triggers";
import { TriggerDialog } from "./details";
import { daysOf, mondayBefore, type Day } from "./days";
import type { Trigger } from "./parts";

const DAYS = 28;
/** Schedules that are asked for their times. */
const MOST_SCHEDULES = 30;
/** Times in one answer of the server. */
const PAGE = 1000;
/** Most times of each schedule: enough for a start every quarter of an hour. */
const TIMES = 3 * PAGE;
/** Entries of a day that are shown. */
const SHOWN = 4;

const dayName = new Intl.DateTimeFormat("en-GB", { weekday: "short", day: "numeric", month: "short" });
const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });

export function Calendar({ opened }: { opened: string | undefined }) {
  const found = useQuery(`${workspace.value?.id} calendar`, async (signal) => {
    const { triggers, total = triggers.length } = await api.get("/api/v1/triggers", { query: { type: "schedule", limit: 1000, count: true }, signal });
    const armed = triggers.filter(({ state }) => state === "armed" || state === "failing");
    const asked = armed.slice(0, MOST_SCHEDULES);
    const from = mondayBefore(new Date(now.value));
    const until = new Date(from.getFullYear(), from.getMonth(), from.getDate() + DAYS).toISOString();
    const dues = await Promise.all(asked.map(async ({ id }) => ({ trigger: id, times: await timesOf(id, until, signal) })));
    return { triggers, dues, left: Math.max(armed.length, total - (triggers.length - armed.length)) - asked.length };
  });
  return (
    <Load query={found} rows={8}>
      {({ triggers, dues, left }) => {
        const shown = triggers.find(({ id }) => id === opened);
        const byId = new Map(triggers.map((trigger) => [trigger.id, trigger]));
        if (dues.length === 0) return <div class="card"><Empty title={texts.noSchedules}><p>{texts.emptyHint}</p><pre>{texts.example}</pre><a class="btn" href={to("/flows")}>{texts.toFlows}</a></Empty></div>;
        return (
          <>
            <ol class="calendar" aria-label={texts.calendar}>
              {daysOf(dues, mondayBefore(new Date(now.value)), DAYS, TIMES).map((day) => <DayCell key={day.date.getTime()} day={day} byId={byId} />)}
            </ol>
            <p class="muted small">{texts.zone(Intl.DateTimeFormat().resolvedOptions().timeZone)}</p>
            {dues.filter(({ times }) => times.length >= TIMES).map(({ trigger: id, times }) => <p key={id} class="muted small">{texts.timesLeft(byId.get(id)?.name ?? "", dayName.format(new Date(times.at(-1)!)))}</p>)}
            {left > 0 && <p class="muted small">{texts.schedulesLeft(left)}</p>}
            {shown !== undefined && <TriggerDialog trigger={shown} reload={found.reload} onClose={() => setQuery({ trigger: undefined })} />}
          </>
        );
      }}
    </Load>
  );
}

/** Return when a schedule starts its flow before a moment: all times, or the first `TIMES`. */
async function timesOf(id: string, until: string, signal: AbortSignal): Promise<string[]> {
  const times: string[] = [];
  while (times.length < TIMES) {
    const { next } = await api.get("/api/v1/triggers/{id}/next", { path: { id }, query: { count: PAGE, until, after: times.at(-1) }, signal });
    times.push(...next);
    if (next.length < PAGE) break;
  }
  return times;
}

function DayCell({ day: { date, entries }, byId }: { day: Day; byId: ReadonlyMap<string, Trigger> }) {
  const present = new Date(now.value);
  const isToday = date.toDateString() === present.toDateString();
  const isPast = date < present && !isToday;
  return (
    <li class={isToday ? "today" : isPast ? "past" : entries.length === 0 ? "free" : undefined} aria-current={isToday ? "date" : undefined}>
      <span class="small muted">{dayName.format(date)}</span>
      {entries.slice(0, SHOWN).map(({ trigger: id, first, count, isOpen }) => (
        <button key={id} class="link small" title={`${byId.get(id)?.flow_name}: ${byId.get(id)?.name}`} onClick={() => setQuery({ trigger: id })}>
          <span class="muted">{count === 1 && !isOpen ? clock.format(first) : `${count}${isOpen ? "+" : ""} ×`}</span> {byId.get(id)?.flow_name} <span class="muted">{byId.get(id)?.name}</span>
        </button>
      ))}
      {entries.length > SHOWN && <span class="small muted">{texts.moreSchedules(entries.length - SHOWN)}</span>}
    </li>
  );
}
