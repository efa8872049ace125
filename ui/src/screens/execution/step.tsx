/** One step beside the graph or the timeline: how it ended, its data, its last log lines. */
import { useSignal } from "@preact/signals";
import { api, type Schemas } from "../../api/client";
import { useQuery } from "../../api/query";
import { personOf, withPerson } from "../../app/people";
import { location, to, withQuery } from "../../app/router";
import { may } from "../../app/session";
import { nodeOf, pathOf, readable } from "../../execution/names";
import { askedStep } from "../../execution/selection";
import { hasFailedElements, progressOf, FINAL, MOST_STEPS, type Detail, type ExecutionStore, type Preview, type Step } from "../../execution/store";
import { childOf } from "../../execution/subflows";
import { causeFirst, causeOf } from "../../parts/causes";
import { Coloured } from "../../parts/coloured";
import { clockOf, duration, shortId } from "../../parts/format";
import { later } from "../../parts/later";
import { member } from "../../parts/paths";
import { Empty, Failure, Status, Time } from "../../parts/parts";
import { common, statuses } from "../../texts/common";
import { executions as texts } from "../../texts/executions";
import { facts } from "../../texts/facts";
import { step as words } from "../../texts/step";
import { choose } from "./choice";
import type { DrawerProps } from "./drawer";
import { rerun, RerunDialog, starting } from "./rerun";
import { LoopRounds, RoundList, Rounds } from "./rounds";
import { Compare } from "./compare";
import { Answer } from "./answer";
import type { AttemptsProps } from "./attempts";
import { dataOf } from "./data";
import { Fault } from "./fault";
import { Params } from "./params";
import { Value } from "./value";

/** What is beside the picture: the chosen step, the runs of the chosen node, or the data of the execution. */
export function Beside({ store, detail, step }: DrawerProps) {
  const { query } = location.value;
  const node = query.get("node");
  const asked = askedStep(query, store.decisive.value);
  const loop = query.get("loop");
  return (
    <>
      {step !== undefined ? <StepPanel key={step.id} store={store} detail={detail} step={step} /> : loop !== null ? <RoundList store={store} loop={loop} status={query.get("of") ?? ""} /> : node !== null ? <NodePanel store={store} node={node} /> : asked !== undefined ? <Missing key={asked} store={store} step={asked} /> : <Whole detail={detail} />}
    </>
  );
}

/** Why the execution has failed as a whole, its result and its input, and how to choose a step. */
function Whole({ detail }: { detail: Detail }) {
  const { load, href } = dataOf(detail);
  const result = detail.result as Preview | undefined;
  return (
    <>
      {detail.failure !== undefined && <Fault detail={detail} message={detail.failure.message} step={undefined}><code>{detail.failure.type}</code></Fault>}
      {result !== undefined && <Value heading="h2" label={texts.result} preview={result} load={load("result")} href={href} />}
      <Value heading="h2" label={words.input} preview={detail.input as unknown as Preview} load={load("input")} href={href} path="flow.input" />
      <p class="muted small">{words.stepHint}</p>
    </>
  );
}

/** A step that is not listed: it may be beyond those that are. */
function Missing({ store, step }: { store: ExecutionStore; step: string }) {
  const found = useQuery(`${store.id} ${step}`, () => store.find(step));
  if (found.error) return <Failure error={found.error} retry={found.reload} />;
  return found.data === undefined ? <p class="muted" aria-busy="true">{common.loading}</p> : <Empty title={words.noStep(readable(step, store.turns.value))}><p>{words.stepHint}</p></Empty>;
}

/** Runs of a node that are listed. */
const MOST_RUNS = 100;

/** The runs of a node, failed ones first. */
function NodePanel({ store, node }: { store: ExecutionStore; node: string }) {
  const steps = store.steps.value.filter(({ step }) => pathOf(step) === node);
  if (steps.length === 0) return <Empty title={words.notRun}><p>{words.untaken}</p></Empty>;
  const rank = ({ status }: Step) => (status === "failed" ? 0 : status === "completed" ? 2 : 1);
  const sorted = [...steps].sort((a, b) => rank(a) - rank(b) || a.id - b.id);
  return (
    <section class="stack tight">
      <h2>{words.runsOf(node)} <span class="muted small">{countsOf(steps)}</span></h2>
      {store.isCut.value && <p class="muted small">{words.moreSteps(MOST_STEPS)}</p>}
      <ul class="runs">
        {sorted.slice(0, MOST_RUNS).map((step) => (
          <li key={step.id}>
            <button class="row run-row" onClick={() => choose({ step: step.step, in: location.peek().query.get("in") ?? undefined })}>
              <Status of={step.status} /><span class="cut" title={step.step}>{readable(step.step, store.turns.value)}</span><span class="muted small right">{step.duration !== undefined && duration(step.duration)}</span>
            </button>
          </li>
        ))}
      </ul>
      {sorted.length > MOST_RUNS && <p class="muted small">{common.shown(MOST_RUNS, sorted.length)}</p>}
    </section>
  );
}

/** "38 completed, 2 failed". */
function countsOf(steps: readonly Step[]): string {
  const counts = new Map<string, number>();
  for (const { status } of steps) counts.set(status, (counts.get(status) ?? 0) + 1);
  return [...counts].sort(([, a], [, b]) => b - a).map(([status, count]) => `${count} ${statuses[status] ?? status}`).join(", ");
}

function StepPanel({ store, detail, step }: { store: ExecutionStore; detail: Detail; step: Step }) {
  const path = { id: detail.id, step_id: step.id };
  const whole = useQuery(`${step.id} ${step.status} ${step.attempts}`, (signal) => (step.attempts > 1 || step.status === "retrying" ? api.get("/api/v1/executions/{id}/steps/{step_id}", { path, signal }) : Promise.resolve(undefined)));
  const loadStep = () => api.get("/api/v1/executions/{id}/steps/{step_id}", { path });
  const href = `/api/v1/executions/${detail.id}/steps/${step.id}`;
  const next = step.status === "retrying" ? whole.data?.each_attempt.at(-1)?.retry_at : undefined;
  const child = childOf(step);
  // A time limit of the execution stops a step, which has no error of its own.
  const failure = detail.failure?.step === step.step ? detail.failure : undefined;
  const error = step.error ?? failure;
  const isEditing = useSignal(false);
  // No expression reads what is inside an agent.
  const isInAgent = store.turns.value.has(step.scope ?? "");
  return (
    <>
      <div class="stack tight">
        <div class="row"><h2 class="cut" title={step.step}>{nodeOf(step.step)}</h2><Status of={step.status} /><span class="muted small right">{step.node_type}</span></div>
        {step.scope !== undefined && <span class="muted small cut" title={step.step}>{readable(step.step, store.turns.value)}</span>}
      </div>
      <Rounds store={store} step={step} />
      {step.scopes !== undefined && <LoopRounds store={store} step={step} />}
      {error !== undefined && step.status !== "completed" && <Fault detail={detail} message={error.message} step={step.step} child={child}><code>{error.type}</code>{step.attempts > 1 && ` · ${words.attemptOf(step.attempts)}`}</Fault>}
      {FINAL.has(detail.status) && may("operator") && (
        <div class="row">
          {hasFailedElements(step) && <button class="btn primary" disabled={starting.busy} onClick={() => rerun(detail.id, { from: step.step, elements: "failed" })}><span class="cut">{words.rerunFailed(step.scopes!.failed)}</span></button>}
          <button class={step.status === "failed" && !hasFailedElements(step) ? "btn primary" : "btn"} disabled={starting.busy} onClick={() => rerun(detail.id, { from: step.step })}><span class="cut">{step.status === "failed" ? texts.rerunFrom(nodeOf(step.step)) : words.rerunFromHere}</span></button>
          <button class="btn" onClick={() => (isEditing.value = true)}>{words.rerunEditInput}</button>
        </div>
      )}
      {isEditing.value && <RerunDialog detail={detail} steps={store.steps.value} begin={step.step} onClose={() => (isEditing.value = false)} />}
      <dl>
        <dt>{texts.started}</dt><dd><Time at={step.started_at} /></dd>
        {step.duration !== undefined && <><dt>{words.duration}</dt><dd>{duration(step.duration)}</dd></>}
        {next !== undefined && <><dt>{words.nextAttempt}</dt><dd><Time at={next} /></dd></>}
        {step.input_edited_by !== undefined && <><dt>{words.inputEdited}</dt><dd>{words.by(personOf(step.input_edited_by))}</dd></>}
        {progressOf(step) !== undefined && <><dt>{step.node_type === "agent" ? texts.steps : words.progress}</dt><dd>{progressOf(step)}</dd></>}
        {step.queued > 20 && <><dt>{words.queued}</dt><dd>{duration(step.queued)}</dd></>}
        {step.action !== undefined && step.action !== "default" && <><dt>{words.action}</dt><dd><code>{step.action}</code></dd></>}
        {child !== undefined && <><dt>{words.subFlow}</dt><dd><a class="link" href={to(`/executions/${child}`)}>{shortId(child)}</a></dd></>}
        {step.wait !== undefined && step.status === "waiting" && child === undefined && <><dt>{texts.waits}</dt><dd>{facts.waitsFor[step.wait.waiting_for.type] ?? step.wait.waiting_for.type}</dd></>}
        {step.wait?.received !== undefined && <><dt>{step.node_type === "approval" ? words.answered : words.received}</dt><dd><Time at={step.wait.received.at} />{step.wait.received.by !== undefined && ` ${step.wait.received.by === "link" ? words.byLink : words.by(personOf(step.wait.received.by))}`}</dd></>}
      </dl>
      {step.status === "waiting" && <Answer detail={detail} step={step} reload={store.load} />}
      {error !== undefined && <ErrorData detail={detail} own={step.error?.data} failure={failure?.data as Preview | null | undefined} />}
      {whole.data !== undefined && whole.data.each_attempt.length > 1 && <Attempts id={detail.id} step={step} attempts={whole.data.each_attempt} result={whole.data.result} />}
      {step.input !== undefined && <Value label={words.input} preview={step.input as Preview} load={async () => (await loadStep()).input} href={href} path={isInAgent ? undefined : "input"} />}
      <Params key={step.status} id={detail.id} step={step} />
      {step.result !== undefined && <Value label={texts.result} preview={step.result as Preview} type={step.node_type} load={async () => (await loadStep()).result} href={href} path={isInAgent ? undefined : member(member("nodes", step.node_id), "result")} />}
      {FINAL.has(detail.status) && <Compare detail={detail} step={step} turns={store.turns.value} runs={store.steps.value.filter((other) => other !== step && pathOf(other.step) === pathOf(step.step))} />}
      <LogTail store={store} step={step} />
    </>
  );
}

/**
 * What came with the error of a step, such as the answer to a request.
 *
 * `own`: As the list of steps has it, unless it is long. `failure`: As the execution has it, if it failed there.
 */
function ErrorData({ detail, own, failure }: { detail: Detail; own: unknown; failure: Preview | null | undefined }) {
  const { load, href } = dataOf(detail);
  const preview = own === undefined || own === null ? failure : { size: new Blob([JSON.stringify(own)]).size, value: own };
  return preview && <Value label={words.errorData} preview={preview as Preview} load={load("failure")} href={href} />;
}

const AttemptsDialog = later<AttemptsProps>(() => import("./attempts").then((module) => module.AttemptsDialog), { isAbove: true });

function Attempts({ id, step, attempts, result }: { id: string; step: Step; attempts: Schemas["AttemptAnswer"][]; result: unknown }) {
  const isOpen = useSignal(false);
  return (
    <section class="stack tight">
      <h3>{words.attempts}</h3>
      <table class="small">
        <tbody>
          {attempts.map((attempt, i) => (
            <>
              <tr key={attempt.attempt}>
                <td><a class="link" title={words.linesOfAttempt(attempt.attempt)} href={withQuery(to(`/executions/${id}`), { tab: "logs", log_step: step.step, attempt: String(attempt.attempt) })}>{attempt.attempt}</a></td>
                <td class="whole">{attempt.error !== undefined ? <><span class="bad">{attempt.error.type}</span> <span class="muted">{causeOf(attempt.error.message).what.slice(0, LONGEST)}</span></> : statuses[attempt.status] ?? attempt.status}</td>
                <td class="num">{attempt.duration !== undefined && duration(attempt.duration)}</td>
              </tr>
              <Pause between={attempt} and={attempts[i + 1]} />
            </>
          ))}
        </tbody>
      </table>
      <div><button class="btn small-btn" onClick={() => (isOpen.value = true)}>{words.compareAttempts}</button></div>
      {isOpen.value && <AttemptsDialog id={id} step={step} attempts={attempts} result={result} onClose={() => (isOpen.value = false)} />}
    </section>
  );
}

/** Characters of a message in the list of attempts. */
const LONGEST = 300;

/** How long it waited for the next attempt. */
function Pause({ between: { completed_at: ended, retry_at: retry }, and: next }: { between: Schemas["AttemptAnswer"]; and: Schemas["AttemptAnswer"] | undefined }) {
  const until = next?.started_at ?? retry;
  if (ended === undefined || until === undefined) return null;
  return <tr class="muted"><td /><td>{next === undefined ? words.retriesIn : words.waited}</td><td class="num">{duration(Math.max(0, Date.parse(until) - Date.parse(ended)))}</td></tr>;
}

const TAIL = 12;

function LogTail({ store, step }: { store: ExecutionStore; step: Step }) {
  const id = store.id;
  const lines = useQuery(`${id} ${step.step} ${store.version.value}`, async (signal) => {
    const ask = (offset: number) => api.get("/api/v1/executions/{id}/logs", { path: { id }, query: { step: step.step, limit: TAIL, offset }, signal });
    const first = await ask(0);
    const total = first.total ?? 0;
    return total > TAIL ? (await ask(total - TAIL)).logs : first.logs;
  });
  if (lines.data === undefined) return null;
  return (
    <section class="stack tight">
      <div class="row"><h3>{words.lastLines}</h3><a class="link small right" href={withQuery(to(`/executions/${id}`), { tab: "logs", log_step: step.step })}>{words.allLines}</a></div>
      {lines.data.length === 0 ? <p class="muted small">{words.noLines}</p> : (
        <ul class="log-tail">
          {lines.data.map((line, i) => <li key={i}><span class="muted">{clockOf(line.timestamp)}</span><span class={`l-${line.level}`}>{line.level}</span><span><Coloured text={causeFirst(withPerson(line.message))} /></span></li>)}
        </ul>
      )}
    </section>
  );
}
