/** The rounds of a loop, beside one of its steps: the next one, the one before, the failed ones, and any by its number. */
import { location } from "../../app/router";
import { nodeOf, numberOf, pathOf, readable, runOf, type Turns } from "../../execution/names";
import { MOST_STEPS, type ExecutionStore, type Step } from "../../execution/store";
import { duration } from "../../parts/format";
import { Status } from "../../parts/parts";
import { failed as showFailure } from "../../parts/toast";
import { common, statuses } from "../../texts/common";
import { step as words } from "../../texts/step";
import { choose } from "./choice";

function pick(step: string | undefined): void {
  if (step !== undefined) choose({ step, in: location.peek().query.get("in") ?? undefined });
}

/** The rounds of a loop to choose from: each leads to the step that decides its status. */
export function LoopRounds({ store, step }: { store: ExecutionStore; step: Step }) {
  const total = step.scopes?.total ?? 0;
  const isAgent = step.node_type === "agent";
  if (store.isCut.value && !isAgent) {
    return total === 0 ? null : <RoundNumber total={total} onPick={(number) => void store.scope(`${step.step}[${number}]`).then((steps) => pick(decisive(steps)?.step), showFailure)} />;
  }
  const rounds = new Map<string, Step[]>();
  for (const each of store.steps.value) {
    const number = each.parent === step.id ? /\[(\d+)\]$/.exec(each.scope ?? "")?.[1] : undefined;
    if (number !== undefined) rounds.set(number, [...(rounds.get(number) ?? []), each]);
  }
  if (rounds.size === 0) return null;
  return (
    <select class="compact" aria-label={isAgent ? words.stepOfAgent : words.rounds} value="" onChange={(event) => pick(event.currentTarget.value)}>
      <option value="" disabled>{isAgent ? words.chooseStep : words.chooseRound}</option>
      {[...rounds].map(([key, steps]) => ({ key, step: decisive(steps)! })).map((each) => <option key={each.key} value={each.step.step}>{isAgent ? callOf(each.step, store.turns.value) : nameOf(each.key, each.step)}</option>)}
    </select>
  );
}

/** The step of a round that has failed, else one that has not ended, else the last one. */
function decisive(steps: readonly Step[]): Step | undefined {
  return steps.find(({ status }) => status === "failed") ?? steps.find(({ status }) => status !== "completed") ?? steps.at(-1);
}

function nameOf(key: string, step: Step): string {
  return words.round(numberOf(key), statuses[step.status] ?? step.status);
}

/** The name of a question or a call of an agent: "turn 2 · orders · failed". */
function callOf(step: Step, turns: Turns): string {
  return [runOf(step.scope ?? "", turns), nodeOf(step.step), statuses[step.status] ?? step.status].join(" · ");
}

/** Rounds that are listed. */
const MOST_ROUNDS = 500;

/** The rounds of a loop whose decisive step has a status. */
export function RoundList({ store, loop, status }: { store: ExecutionStore; loop: string; status: string }) {
  const rounds = new Map<string, Step[]>();
  for (const each of store.steps.value) {
    if (each.scope?.startsWith(`${loop}[`) && !each.scope.slice(loop.length).includes("/")) rounds.set(each.scope, [...(rounds.get(each.scope) ?? []), each]);
  }
  const found = [...rounds].map(([scope, steps]) => ({ scope, step: decisive(steps)! })).filter(({ step }) => status === "" || step.status === status);
  return (
    <section class="stack tight">
      <h2>{words.roundsWith(readable(loop, store.turns.value), statuses[status] ?? status)} <span class="muted small">{found.length.toLocaleString("en")}</span></h2>
      {store.isCut.value && <p class="muted small">{words.moreSteps(MOST_STEPS)}</p>}
      <ul class="runs">
        {found.slice(0, MOST_ROUNDS).map(({ scope, step }) => (
          <li key={scope}>
            <button class="row run-row" onClick={() => pick(step.step)}>
              <Status of={step.status} /><span class="cut" title={step.step}>{runOf(scope, store.turns.value)} › {nodeOf(step.step)}</span><span class="muted small right">{step.duration !== undefined && duration(step.duration)}</span>
            </button>
          </li>
        ))}
      </ul>
      {found.length > MOST_ROUNDS && <p class="muted small">{common.shown(MOST_ROUNDS, found.length)}</p>}
    </section>
  );
}

/** A round by its number, where there are too many for a list. Args: number: From 0, as in names. */
function RoundNumber({ total, number, onPick }: { total: number; number?: number; onPick: (number: number) => void }) {
  return (
    <label class="row tight small muted">{words.roundNumber}
      <input class="compact" type="number" min={1} max={total} value={number === undefined ? undefined : number + 1} aria-label={words.rounds} onChange={({ currentTarget: { value, validity } }) => value !== "" && validity.valid && onPick(Number(value) - 1)} />
      {words.roundsOf(total)}
    </label>
  );
}

/** The runs of a loop that a step is one of. */
export function Rounds({ store, step }: { store: ExecutionStore; step: Step }) {
  const path = pathOf(step.step);
  const [, loop, number, rest] = /^(.*)\[(\d+)\](\/[^[\]]*)$/.exec(step.step) ?? [];
  if (loop === undefined) return null;
  const parent = store.steps.value.find(({ id }) => id === step.parent);
  const total = parent?.scopes?.total ?? 0;
  const isAgent = parent?.node_type === "agent";
  const nameIn = (each: Step) => each.step.slice(loop.length + 1).split("]")[0] ?? "";
  const runs = store.steps.value.filter((each) => (isAgent ? each.parent === step.parent : each.step.startsWith(`${loop}[`) && pathOf(each.step) === path)).sort((a, b) => Number(nameIn(a)) - Number(nameIn(b)) || a.id - b.id);
  const at = runs.findIndex(({ id }) => id === step.id);
  // The steps of an agent are different ones.
  const isCut = store.isCut.value && !isAgent;
  if (at < 0 || (runs.length < 2 && !isCut)) return null;
  // Where not all are listed, each round is taken to have the step.
  const named = (next: number) => (next < 0 || next >= total ? undefined : `${loop}[${next}]${rest}`);
  const before = isCut ? named(Number(number) - 1) : runs[at - 1]?.step;
  const after = isCut ? named(Number(number) + 1) : runs[at + 1]?.step;
  const failed = runs.filter(({ status }) => status === "failed");
  return (
    <div class="row tight rounds">
      <button class="btn icon" aria-label={words.roundBefore} disabled={before === undefined} onClick={() => pick(before)}>‹</button>
      {isCut ? <RoundNumber total={total} number={Number(number)} onPick={(next) => pick(named(next))} /> : (
        <select class="compact" aria-label={isAgent ? words.stepOfAgent : words.rounds} value={step.step} onChange={(event) => pick(event.currentTarget.value)}>
          {runs.map((each) => <option key={each.id} value={each.step}>{isAgent ? callOf(each, store.turns.value) : nameOf(nameIn(each), each)}</option>)}
        </select>
      )}
      <button class="btn icon" aria-label={words.roundAfter} disabled={after === undefined} onClick={() => pick(after)}>›</button>
      {!isCut && !isAgent && <span class="muted small nowrap">{words.roundsOf(Math.max(total, runs.length))}</span>}
      <button class="btn quiet small-btn" onClick={() => choose({ node: path, in: location.peek().query.get("in") ?? undefined })}>{isAgent ? words.allRuns : words.allRounds}</button>
      {failed.length > 0 && !(failed.length === 1 && failed[0]!.id === step.id) && <button class="btn quiet small-btn right" onClick={() => pick(failed[(failed.findIndex(({ id }) => id === step.id) + 1) % failed.length]?.step)}>{words.nextFailed(failed.length)}</button>}
    </div>
  );
}
