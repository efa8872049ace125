/** The revisions of a flow: each compared with another one, as text and as a graph, and restored. */
import { useSignal } from "@preact/signals";
import { useMemo } from "preact/hooks";
import { api, ApiError, type Schemas } from "../api/client";
import { useQuery } from "../api/query";
import { personOf } from "../app/people";
import { NotFound } from "../app/not-found";
import { location, setQuery, to, type Parameters } from "../app/router";
import { may } from "../app/session";
import { diffGraphs, type Version } from "../diff/graphs";
import { GraphView } from "../graph/view";
import { useQuestion } from "../parts/dialog";
import { bytes } from "../parts/format";
import { Pager } from "../parts/pager";
import { Empty, Failure, Load, Skeleton, Time } from "../parts/parts";
import { TextDiff } from "../parts/text-diff";
import { done, failed } from "../parts/toast";
import { revisions as texts } from "../texts/revisions";
import { nodeValue } from "./flow/build";
import { FlowHead } from "./flow/head";
import { readFlow } from "./flow/places";
import { loadFlow } from "./flow/saved";
import type { DocumentNode } from "../graph/document";

const PAGE = 100;

export default function FlowRevisions({ parameters }: { parameters: Parameters }) {
  const id = parameters.id!;
  const flow = useQuery(id, (signal) => loadFlow(id, signal));
  const { query } = location.value;
  const cursor = query.get("cursor") ?? "";
  const list = useQuery(`${id} ${cursor}`, (signal) => api.get("/api/v1/flows/{id}/revisions", { path: { id }, query: { limit: PAGE, cursor, count: true }, signal }));
  const { ask, question } = useQuestion();
  async function restoreNow(number: number): Promise<void> {
    try {
      const { revision } = await api.post("/api/v1/flows/{id}/revisions/{number}/restore", { path: { id, number }, headers: { "If-Match": flow.data!.etag } });
      done(texts.restored(revision));
      setQuery({ number: undefined, against: undefined, cursor: undefined });
    } catch (error) {
      if (!(error instanceof ApiError && error.status === 412)) throw error;
      // Somebody else has saved it: what is current now is shown, and the next try, which the message asks for, is about that.
      await Promise.all([flow.reload(), list.reload()]);
      return failed(error);
    }
    await Promise.all([flow.reload(), list.reload()]);
  }
  const restore = (number: number) => ask({ title: texts.restoreTitle(number), action: texts.restore, hint: texts.restoreHint, run: () => restoreNow(number) });

  if (flow.error?.status === 404) return <NotFound />;
  return (
    <>
      <FlowHead id={id} flow={flow} />
      <div class="content revisions">
        <Load query={list} rows={6}>
          {({ revisions, total, next_cursor: next }) => {
            const number = Number(query.get("number")) || revisions[0]?.number;
            return (
              <>
                <nav class="card revision-list" aria-label={texts.list}>
                  {revisions.map((each) => (
                    <a key={each.number} href={to(`/flows/${encodeURIComponent(id)}/revisions`, { number: String(each.number), view: query.get("view") ?? undefined, cursor: query.get("cursor") ?? undefined })} aria-current={each.number === number ? "true" : undefined}>
                      <span class="row tight"><b>{each.number}</b>{each.version !== "" && <span class="muted">{each.version}</span>}{each.is_current && <span class="tag">{texts.current}</span>}</span>
                      <span class="muted small"><Time at={each.created_at} /> · {personOf(each.created_by)} · <span class="nowrap">{bytes(each.size)}</span></span>
                    </a>
                  ))}
                  <Pager next={next} drops={["number", "against"]} count={(cursor !== "" || next !== undefined) && total !== undefined && texts.count(total)} />
                </nav>
                {number !== undefined && <Chosen id={id} number={number} revisions={revisions} isLast={next === undefined} isCurrent={flow.data === undefined || number === flow.data.flow.revision} onRestore={() => restore(number)} />}
              </>
            );
          }}
        </Load>
      </div>
      {question}
    </>
  );
}

interface ChosenProps {
  id: string;
  number: number;
  /** Those of the page. */
  revisions: readonly Schemas["RevisionAnswer"][];
  /** No page follows. */
  isLast: boolean;
  /** It is the current one, or it is not known yet which one that is. */
  isCurrent: boolean;
  onRestore: () => void;
}

/** One revision, compared with the one before it or another one. */
function Chosen({ id, number, revisions, isLast, isCurrent, onRestore }: ChosenProps) {
  const { query } = location.value;
  const listed = Number(query.get("against")) || revisions.find((each) => each.number < number)?.number;
  const isAsked = listed === undefined && !isLast;
  // The one before the last of a page is on the next page. It may have any number, because revisions are deleted.
  const previous = useQuery(`${id} ${number} ${isAsked}`, async (signal) => {
    const found = isAsked ? await api.get("/api/v1/flows/{id}/revisions/{number}/diff", { path: { id, number }, signal }) : undefined;
    return { of: number, against: found?.against ?? undefined };
  });
  if (isAsked && previous.data?.of !== number) return previous.error === undefined ? <Skeleton rows={8} /> : <Failure error={previous.error} retry={previous.reload} />;
  const against = isAsked ? previous.data?.against : listed;
  return (
    <div class="stack">
      <div class="row">
        <h2>{against === undefined ? texts.first : texts.compare(number, against)}</h2>
        {revisions.length > 1 && (
          <label class="row tight small muted">{texts.against}
            <select class="narrow-input" value={String(against ?? "")} onChange={(event) => setQuery({ number: String(number), against: event.currentTarget.value || undefined })}>
              {against === undefined && <option value="">–</option>}
              {against !== undefined && !revisions.some((each) => each.number === against) && <option value={String(against)}>{against}</option>}
              {revisions.filter((each) => each.number !== number).map((each) => <option key={each.number} value={String(each.number)}>{each.number}</option>)}
            </select>
          </label>
        )}
        <span class="right row">
          <span class="row tight" role="group" aria-label={texts.views}>
            <button class="chip" aria-pressed={query.get("view") !== "graph"} onClick={() => setQuery({ view: undefined })}>{texts.text}</button>
            <button class="chip" aria-pressed={query.get("view") === "graph"} onClick={() => setQuery({ view: "graph" })}>{texts.graph}</button>
          </span>
          {may("editor") && !isCurrent && <button class="btn" onClick={onRestore}>{texts.restore}</button>}
        </span>
      </div>
      <Comparison key={`${number} ${against}`} id={id} number={number} against={against} isGraph={query.get("view") === "graph"} />
    </div>
  );
}

function Comparison({ id, number, against, isGraph }: { id: string; number: number; against: number | undefined; isGraph: boolean }) {
  const pair = useQuery(`${id} ${number} ${against}`, async (signal) => {
    const load = (which: number) => api.get("/api/v1/flows/{id}/revisions/{number}", { path: { id, number: which }, signal });
    const [after, before] = await Promise.all([load(number), against === undefined ? undefined : load(against)]);
    return { before: before?.definition ?? "", after: after.definition };
  });
  if (pair.error !== undefined) return <Failure error={pair.error} retry={pair.reload} />;
  if (pair.data === undefined) return <Skeleton rows={8} />;
  return isGraph ? <GraphDiff {...pair.data} /> : <TextDiff {...pair.data} label={texts.text} isFirst={against === undefined} />;
}

function GraphDiff({ before, after }: { before: string; after: string }) {
  const selected = useSignal<string | undefined>(undefined);
  const difference = useMemo(() => {
    const [old, now] = [versionOf(before), versionOf(after)];
    return now && diffGraphs(old ?? { graph: now.graph, valueOf: now.valueOf }, now);
  }, [before, after]);
  if (difference === undefined) return <div class="card"><Empty title={texts.noGraph} /></div>;
  return (
    <>
      <p class="muted small" role="status">{texts.summary(difference.added, difference.removed, difference.changed)}</p>
      <div class="card graph-diff"><GraphView graph={difference.graph} marks={difference.marks} selected={selected} /></div>
    </>
  );
}

function versionOf(text: string): Version | undefined {
  const reading = readFlow(text);
  return reading === null ? undefined : { graph: reading.graph, valueOf: (node) => withoutInside(nodeValue(reading, node as DocumentNode)) };
}

/** The nodes inside a loop are compared by themselves. */
function withoutInside({ nodes: _, branches: __, ...own }: Readonly<Record<string, unknown>>): unknown {
  return own;
}
