/** Two attempts of a step next to each other, with what differs marked. */
import { useSignal, type Signal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { api } from "../../api/client";
import { useQuery } from "../../api/query";
import { diffLines, folded, linesOf } from "../../diff/lines";
import { linePairs, pairToCompare, type Attempt } from "../../execution/attempts";
import { paramsOf } from "../../execution/params";
import { nodeOf } from "../../execution/names";
import type { Step } from "../../execution/store";
import { Dialog } from "../../parts/dialog";
import { bytes, duration } from "../../parts/format";
import { Load, Status, Time } from "../../parts/parts";
import { attempts as texts } from "../../texts/attempts";
import { comparison } from "../../texts/comparison";
import { revisions } from "../../texts/revisions";
import { step as words } from "../../texts/step";

export interface AttemptsProps {
  id: string;
  step: Step;
  attempts: readonly Attempt[];
  /** Of the last attempt; absent until it has completed. */
  result: unknown;
  onClose: () => void;
}

/** Lines of the log of an attempt that are compared. */
const MOST_LINES = 200;
/** Longer texts are not compared: a page with them is slow. */
const MOST_LENGTH = 500_000;

export function AttemptsDialog({ id, step: { id: stepId, step }, attempts, result, onClose }: AttemptsProps) {
  const [first, second] = pairToCompare(attempts);
  const [left, right] = [useSignal(first), useSignal(second)];
  const [a, b] = [attempts[left.value]!, attempts[right.value]!];
  const loaded = useQuery(`${id} ${step} ${a.attempt} ${b.attempt}`, (signal) => Promise.all([a, b].map(async ({ attempt }) => {
    const [log, params] = await Promise.all([logOf(id, step, attempt, signal), paramsOf({ id, step_id: stepId }, signal, attempt)]);
    return { ...log, params: written(params) };
  })));
  // An answer to a request has the same members whether it is an error or a result.
  const dataOf = (attempt: Attempt) => written(attempt.error !== undefined ? attempt.error.data : attempt === attempts.at(-1) ? result : undefined);
  return (
    <Dialog title={texts.title(nodeOf(step))} wide onClose={onClose}>
      <table class="wrap" style={BESIDE}>
        <thead>
          <tr><td style={{ width: "26%" }} /><th scope="col"><Choice label={texts.left} attempts={attempts} chosen={left} /></th><th scope="col"><Choice label={texts.right} attempts={attempts} chosen={right} /></th></tr>
        </thead>
        <tbody>
          <Row name={texts.status} values={[a, b].map(({ status }) => status)}>{(value) => <Status of={value} />}</Row>
          <Row name={texts.started} values={[a, b].map(({ started_at: at }) => at)} isMarked={false}>{(value) => <Time at={value} />}</Row>
          <Row name={texts.took} values={[a, b].map((each) => each.duration)} isMarked={false}>{duration}</Row>
          <Row name={texts.error} values={[a, b].map(({ error }) => error?.type)}>{(value) => <code>{value}</code>}</Row>
          <Row name={texts.message} values={[a, b].map(({ error }) => error?.message)}>{(value) => value}</Row>
        </tbody>
      </table>
      <Texts name={texts.data} values={[a, b].map(dataOf)} />
      <Load query={loaded} rows={3}>
        {(found) => (
          <>
            <Texts name={words.params} values={found.map(({ params }) => params)} />
            <Texts name={texts.log} values={found.map(({ text }) => text)} note={found.some(({ isCut }) => isCut) ? texts.moreLines(MOST_LINES) : undefined} />
          </>
        )}
      </Load>
      <p class="muted small">{texts.input}</p>
    </Dialog>
  );
}

function Choice({ label, attempts, chosen }: { label: string; attempts: readonly Attempt[]; chosen: Signal<number> }) {
  return (
    <select class="compact" aria-label={label} value={chosen.value} onChange={(event) => (chosen.value = Number(event.currentTarget.value))}>
      {attempts.map(({ attempt }, index) => <option key={attempt} value={index}>{texts.attempt(attempt)}</option>)}
    </select>
  );
}

/** A value of both; nothing if neither has it. */
function Row<T extends string | number>({ name, values, isMarked = true, children }: { name: string; values: readonly (T | undefined)[]; isMarked?: boolean; children: (value: T) => ComponentChildren }) {
  if (values.every((value) => value === undefined)) return null;
  return (
    <tr style={isMarked && values[0] !== values[1] ? MARKED : undefined}>
      <th scope="row"><Name name={name} differs={isMarked && values[0] !== values[1]} /></th>
      {values.map((value, index) => <td key={index}>{value !== undefined && children(value)}</td>)}
    </tr>
  );
}

function Name({ name, differs }: { name: string; differs: boolean }) {
  return <>{name}{differs && <> <span class="wait" role="img" aria-label={texts.differs} title={texts.differs}>≠</span></>}</>;
}

// Here, because all screens load the style sheet.
const BESIDE = { tableLayout: "fixed" };
const HALF = { width: "50%", verticalAlign: "top" };
const WRAPPED = { whiteSpace: "pre-wrap" };
const MARKED = { background: "var(--wait-soft)" };

/** Two texts line by line; nothing if both are empty. */
function Texts({ name, values: [left = "", right = ""], note }: { name: string; values: readonly string[]; note?: string }) {
  if (left === "" && right === "") return null;
  const longest = Math.max(left.length, right.length);
  return (
    <section class="stack tight">
      <h3><Name name={name} differs={left !== right} /></h3>
      {note && <p class="muted small">{note}</p>}
      {longest > MOST_LENGTH ? <p class="muted">{comparison.tooLong(bytes(longest))}</p> : left === right ? <p class="muted small">{texts.alike}</p> : (
        <div class="card scroll" role="group" aria-label={name} tabIndex={0}>
          <table class="diff wrap" style={BESIDE}>
            <tbody>
              {linePairs(folded(diffLines(linesOf(left), linesOf(right)), false)).map((pair, index) =>
                typeof pair === "number" ? <tr key={index} class="diff-fold"><td colSpan={2}>{revisions.hidden(pair)}</td></tr> : (
                  <tr key={index}>
                    <td class={pair.left === pair.right || pair.left === null ? undefined : "diff-removed"} style={HALF}><code style={WRAPPED}>{pair.left}</code></td>
                    <td class={pair.left === pair.right || pair.right === null ? undefined : "diff-added"} style={HALF}><code style={WRAPPED}>{pair.right}</code></td>
                  </tr>
                ),
              )}
            </tbody>
          </table>
        </div>
      )}
    </section>
  );
}

function written(value: unknown): string {
  return value === undefined ? "" : JSON.stringify(value, null, 2);
}

async function logOf(id: string, step: string, attempt: number, signal: AbortSignal): Promise<{ text: string; isCut: boolean }> {
  const { logs, total = 0 } = await api.get("/api/v1/executions/{id}/logs", { path: { id }, query: { step, attempt, limit: MOST_LINES }, signal });
  return { text: logs.map(({ level, message }) => `${level} ${message}`).join("\n"), isCut: total > logs.length };
}
