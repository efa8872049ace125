/** The log of an execution: a window on its lines, of which only those in sight are loaded and drawn. */
import { useSignal } from "@preact/signals";
import { useEffect, useLayoutEffect, useMemo, useRef } from "preact/hooks";
import { api, type Schemas } from "../../api/client";
import { location, setQuery, to, withQuery } from "../../app/router";
import { readable, type Turns } from "../../execution/names";
import type { ExecutionStore } from "../../execution/store";
import { Lines, queryOf, type Filter, type Line } from "../../execution/lines";
import { withoutSequences } from "../../parts/ansi";
import { causeFirst } from "../../parts/causes";
import { Coloured } from "../../parts/coloured";
import { clockOf, exact } from "../../parts/format";
import { Json } from "../../parts/json";
import { Dialog } from "../../parts/dialog";
import { download } from "../../parts/download";
import { Empty, Failure } from "../../parts/parts";
import { warn } from "../../parts/toast";
import { CopyButton, useAction } from "../../parts/tools";
import { withPerson } from "../../app/people";
import { visible } from "../../parts/visible";
import { executions as texts } from "../../texts/executions";
import { facts } from "../../texts/facts";
import { logs as ofLogs } from "../../texts/logs";
import { step as ofStep } from "../../texts/step";

const HEIGHT = 22;
/** Characters of a message in its row. */
const ROW = 2000;
/** Attempts that can be chosen. */
const MOST_ATTEMPTS = 100;

function filterOf(query: URLSearchParams): Filter {
  return { level: query.get("level") ?? "", node: query.get("log_node") ?? "", step: query.get("log_step") ?? "", attempt: /^[1-9]\d{0,5}$/.exec(query.get("attempt") ?? "")?.[0] ?? "", text: query.get("q") ?? "" };
}

/** Set the filter; a line of the unfiltered log has another number then. */
function setFilter(values: Record<string, string | undefined>): void {
  setQuery({ ...values, line: undefined });
}

/** Milliseconds after the last key until a text is searched. */
const PAUSE = 300;

export function LogsTab({ store }: { store: ExecutionStore }) {
  const filter = filterOf(location.value.query);
  const { level, node, step, attempt, text } = filter;
  const lines = useMemo(() => new Lines(store.id, filter), [store.id, level, node, step, attempt, text]);
  // The first load of the execution brings nothing that the lines do not have.
  useEffect(() => void lines.renew(), [lines, Math.max(1, store.version.value)]);
  const nodes = [...new Set([...(store.graph.value?.nodes ?? []), ...store.steps.value].map(({ node_id: id }) => id))].sort();
  const attempts = Math.min(MOST_ATTEMPTS, Math.max(Number(attempt), ...store.steps.value.map((step) => step.attempts)));
  return (
    <div>
      <div class="log-tools">
        <select aria-label={ofLogs.level} value={level} onChange={(event) => setFilter({ level: event.currentTarget.value || undefined })}>
          {Object.entries(ofLogs.levels).map(([value, label]) => <option key={value} value={value}>{label}</option>)}
        </select>
        <select aria-label={ofLogs.node} value={node} onChange={(event) => setFilter({ log_node: event.currentTarget.value || undefined })}>
          <option value="">{ofLogs.anyNode}</option>
          {nodes.map((id) => <option key={id} value={id}>{id}</option>)}
          {node !== "" && !nodes.includes(node) && <option value={node}>{node}</option>}
        </select>
        {attempts > 1 && (
          <select aria-label={ofLogs.attempt} value={attempt} onChange={(event) => setFilter({ attempt: event.currentTarget.value || undefined })}>
            <option value="">{ofLogs.anyAttempt}</option>
            {Array.from({ length: attempts }, (_, i) => <option key={i} value={String(i + 1)}>{ofLogs.attemptNumber(i + 1)}</option>)}
            {Number(attempt) > attempts && <option value={attempt}>{ofLogs.attemptNumber(Number(attempt))}</option>}
          </select>
        )}
        {step !== "" && <button class="chip" aria-label={facts.without(readable(step, store.turns.value))} onClick={() => setFilter({ log_step: undefined })}>{readable(step, store.turns.value)} ×</button>}
        <Search text={text} />
        <Count lines={lines} />
        <SaveButton id={store.id} filter={filter} total={() => lines.total} />
      </div>
      <Window key={`${level} ${node} ${step} ${attempt} ${text}`} lines={lines} turns={store.turns.value} isFiltered={level !== "" || node !== "" || step !== "" || attempt !== "" || text !== ""} isLive={store.isLive.value} />
    </div>
  );
}

function Search({ text }: { text: string }) {
  const ref = useRef<HTMLInputElement>(null);
  const timer = useRef(0);
  useEffect(() => () => clearTimeout(timer.current), []);
  useEffect(() => {
    if (ref.current !== null) ref.current.value = text;
  }, [text]);
  function wait({ currentTarget: { value } }: { currentTarget: HTMLInputElement }): void {
    clearTimeout(timer.current);
    timer.current = window.setTimeout(() => setFilter({ q: value || undefined }), PAUSE);
  }
  return <input ref={ref} type="search" aria-label={ofLogs.search} placeholder={ofLogs.search} maxLength={200} onInput={wait} />;
}

function Count({ lines }: { lines: Lines }) {
  useSubscription(lines);
  return <span class="muted small" role="status">{lines.total === undefined ? "" : ofLogs.lines(lines.total)}</span>;
}

/** Lines of a file at most. */
const MOST_SAVED = 100_000;

/** The lines that fit the filter, as a text file. */
function SaveButton({ id, filter, total }: { id: string; filter: Filter; total: () => number | undefined }) {
  const action = useAction();
  async function save(): Promise<void> {
    const saved: string[] = [];
    let cursor: string | undefined = "";
    do {
      const query = { ...queryOf(filter), limit: 1000, cursor };
      const page: Schemas["LogList"] = await api.get("/api/v1/executions/{id}/logs", { path: { id }, query });
      saved.push(...page.logs.map((line) => [line.timestamp, line.level, line.step ?? line.node_id ?? "-", withoutSequences(line.message), ...(line.data === undefined ? [] : [JSON.stringify(line.data)])].join(" ")));
      cursor = page.next_cursor ?? undefined;
    } while (cursor !== undefined && saved.length < MOST_SAVED);
    if (cursor !== undefined) warn(ofLogs.moreLines(saved.length, total() ?? saved.length));
    download(`${id}.log`, `${saved.join("\n")}\n`, "text/plain");
  }
  return <button class="btn quiet small-btn right" disabled={action.busy} onClick={() => action.run(save)}>{ofLogs.saveLog}</button>;
}

function useSubscription(lines: Lines): void {
  const version = useSignal(0);
  useEffect(() => lines.subscribe(() => (version.value += 1)), [lines]);
  void version.value;
}

function Window({ lines, turns, isFiltered, isLive }: { lines: Lines; turns: Turns; isFiltered: boolean; isLive: boolean }) {
  useSubscription(lines);
  const ref = useRef<HTMLDivElement>(null);
  const top = useSignal(0);
  const height = useSignal(600);
  const opened = numberOf(location.value.query.get("line"));
  const follow = useSignal(isLive && opened === undefined);
  /** The line that the arrows have reached. */
  const active = useSignal(opened);
  const total = lines.total ?? 0;
  useLayoutEffect(() => {
    const element = ref.current;
    if (element === null) return;
    const observer = new ResizeObserver(() => (height.value = element.clientHeight));
    observer.observe(element);
    return () => observer.disconnect();
  }, [total === 0]);
  useLayoutEffect(() => {
    if (follow.value && isLive && ref.current !== null) ref.current.scrollTop = ref.current.scrollHeight;
  }, [total]);
  useLayoutEffect(() => {
    // A link to a line.
    if (opened !== undefined && total > 0) show(opened);
  }, [total > 0]);
  function show(index: number): void {
    const element = ref.current;
    if (element === null) return;
    const at = index * HEIGHT;
    if (at < element.scrollTop || at + HEIGHT > element.scrollTop + element.clientHeight) element.scrollTop = at - element.clientHeight / 2;
  }
  function onKeyDown(event: KeyboardEvent): void {
    const by = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (by !== undefined) {
      active.value = Math.min(total - 1, Math.max(0, active.value === undefined ? Math.ceil(top.peek() / HEIGHT) : active.value + by));
      show(active.value);
    } else if (event.key === "Enter" && active.value !== undefined) setQuery({ line: String(active.value) });
    else return;
    event.preventDefault();
  }
  const first = Math.max(0, Math.floor(top.value / HEIGHT) - 10);
  const last = Math.min(total - 1, Math.ceil((top.value + height.value) / HEIGHT) + 10);
  // After each load: a page may have grown while it was loaded.
  useEffect(() => {
    if (total > 0) lines.need(first, last);
  });
  const failure = lines.error !== undefined && <div class="content"><Failure error={lines.error} retry={() => void lines.renew()} /></div>;
  if (lines.total === undefined && failure) return failure;
  if (lines.total === 0) {
    if (!isFiltered) return <Empty title={ofLogs.nothingLogged}><p>{ofLogs.nothingLoggedHint}</p></Empty>;
    return <Empty title={ofLogs.noLog}><p>{ofLogs.noLogHint}</p><button class="btn" onClick={() => setFilter({ level: undefined, log_node: undefined, log_step: undefined, attempt: undefined, q: undefined })}>{facts.clear}</button></Empty>;
  }
  const shown = Array.from({ length: Math.max(0, last - first + 1) }, (_, i) => first + i);
  return (
    <>
      {failure}
      <div class="log-window" ref={ref} role="group" aria-label={ofLogs.logLabel} tabIndex={0} onKeyDown={onKeyDown} onScroll={({ currentTarget }) => {
        top.value = currentTarget.scrollTop;
        follow.value = currentTarget.scrollTop + currentTarget.clientHeight >= currentTarget.scrollHeight - HEIGHT;
      }}>
        <div style={{ height: `${total * HEIGHT}px` }}>
          {shown.map((index) => {
            const line = lines.at(index);
            return (
              <button key={index} class="log-line" tabIndex={-1} aria-current={index === active.value ? "true" : undefined} style={{ top: `${index * HEIGHT}px` }} onClick={() => { active.value = index; setQuery({ line: String(index) }); }} title={line && titleOf(line)}>
                {line === undefined ? <span class="muted">…</span> : (
                  <>
                    <time class="muted" dateTime={line.timestamp}>{clockOf(line.timestamp)}</time>
                    <span class={`l-${line.level}`}>{line.level}</span>
                    <span class="muted" title={line.step}>{line.step === undefined ? line.node_id : readable(line.step, turns)}</span>
                    <span><Coloured text={causeFirst(withPerson(line.message.slice(0, ROW)))} /></span>
                  </>
                )}
              </button>
            );
          })}
        </div>
      </div>
      {opened !== undefined && lines.at(opened) !== undefined && <LineDialog line={lines.at(opened)!} turns={turns} onClose={() => setQuery({ line: undefined })} />}
    </>
  );
}

function titleOf(line: Line): string {
  const message = visible(withoutSequences(causeFirst(line.message.slice(0, ROW))));
  return line.attempt === undefined ? message : `${ofStep.attemptOf(line.attempt)}: ${message}`;
}

/** Return the number of a line in an address. */
function numberOf(text: string | null): number | undefined {
  return text !== null && /^\d{1,9}$/.test(text) ? Number(text) : undefined;
}

function LineDialog({ line, turns, onClose }: { line: Line; turns: Turns; onClose: () => void }) {
  return (
    <Dialog title={line.step === undefined ? line.node_id ?? line.level : readable(line.step, turns)} wide onClose={onClose} actions={<>
      <CopyButton text={window.location.href} label={ofLogs.copyLink} />
      <CopyButton text={withoutSequences(line.message)} />
      {line.step !== undefined && <a class="btn" href={withQuery(to(location.value.path.replace(/^\/w\/[^/]*/, "")), { step: line.step })}>{ofLogs.showStep}</a>}
    </>}>
      <p class="muted small">{exact(line.timestamp).split("\n")[0]} · <span class={`l-${line.level}`}>{line.level}</span>{line.attempt !== undefined && ` · ${ofStep.attemptOf(line.attempt)}`}</p>
      <pre><Coloured text={causeFirst(withPerson(line.message))} /></pre>
      {line.data !== undefined && <Json label={texts.data} value={line.data} />}
    </Dialog>
  );
}
