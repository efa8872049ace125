/** The rounds of a loop, beside one of its steps: the next one, the one before, the failed ones, and any by its number. */
import { location } from "../../app/router";
import { pathOf } from "../../execution/names";
import type { ExecutionStore, Step } from "../../execution/store";
import { failed as showFailure } from "../../parts/toast";
import { statuses } from "../../texts/common";
import { executions as texts } from "../../texts/executions";
import { choose } from "../execution";

function pick(step: string | undefined): void {
  if (step !== undefined) choose({ step, in: location.peek().query.get("in") ?? undefined });
}

/** The rounds of a loop to choose from: each leads to the step that decides its status. */
export function LoopRounds({ store, step }: { store: ExecutionStore; step: Step }) {
  const total = step.scopes?.total ?? 0;
  if (store.isCut.value) {
    return total === 0 ? null : <RoundNumber total={total} onPick={(number) => void store.scope(`${step.step}[${number}]`).then((steps) => pick(decisive(steps)?.step), showFailure)} />;
  }
  const rounds = new Map<string, Step[]>();
  for (const each of store.steps.value) {
    const number = each.parent === step.id ? /\[(\d+)\]$/.exec(each.scope ?? "")?.[1] : undefined;
    if (number !== undefined) rounds.set(number, [...(rounds.get(number) ?? []), each]);
  }
  if (rounds.size === 0) return null;
  return (
    <select class="compact" aria-label={texts.rounds} value="" onChange={(event) => pick(event.currentTarget.value)}>
      <option value="" disabled>{texts.chooseRound}</option>
      {[...rounds].map(([number, steps]) => ({ number, step: decisive(steps)! })).map((each) => <option key={each.number} value={each.step.step}>{nameOf(each.number, each.step)}</option>)}
    </select>
  );
}

/** The step of a round that has failed, else one that has not ended, else the last one. */
function decisive(steps: readonly Step[]): Step | undefined {
  return steps.find(({ status }) => status === "failed") ?? steps.find(({ status }) => status !== "completed") ?? steps.at(-1);
}

function nameOf(number: string, step: Step): string {
  return texts.round(number, statuses[step.status] ?? step.status);
}

/** A round by its number, where there are too many for a list. */
function RoundNumber({ total, number, onPick }: { total: number; number?: number; onPick: (number: number) => void }) {
  return (
    <label class="row tight small muted">{texts.roundNumber}
      <input class="compact" type="number" min={0} max={total - 1} value={number} aria-label={texts.rounds} onChange={({ currentTarget: { value, validity } }) => value !== "" && validity.valid && onPick(Number(value))} />
      {texts.roundLast(total - 1)}
    </label>
  );
}

/** The runs of a loop that a step is one of. */
export function Rounds({ store, step }: { store: ExecutionStore; step: Step }) {
  const path = pathOf(step.step);
  const [, loop, number, rest] = /^(.*)\[(\d+)\](\/[^[\]]*)$/.exec(step.step) ?? [];
  if (loop === undefined) return null;
  const total = store.steps.value.find(({ id }) => id === step.parent)?.scopes?.total ?? 0;
  const nameIn = (each: Step) => each.step.slice(loop.length + 1).split("]")[0] ?? "";
  const runs = store.steps.value.filter((each) => each.step.startsWith(`${loop}[`) && pathOf(each.step) === path).sort((a, b) => Number(nameIn(a)) - Number(nameIn(b)) || a.id - b.id);
  const at = runs.findIndex(({ id }) => id === step.id);
  const isCut = store.isCut.value;
  if (at < 0 || (runs.length < 2 && !isCut)) return null;
  // Where not all are listed, each round is taken to have the step.
  const named = (next: number) => (next < 0 || next >= total ? undefined : `${loop}[${next}]${rest}`);
  const before = isCut ? named(Number(number) - 1) : runs[at - 1]?.step;
  const after = isCut ? named(Number(number) + 1) : runs[at + 1]?.step;
  const failed = runs.filter(({ status }) => status === "failed");
  return (
    <div class="row tight rounds">
      <button class="btn icon" aria-label={texts.roundBefore} disabled={before === undefined} onClick={() => pick(before)}>‹</button>
      {isCut ? <RoundNumber total={total} number={Number(number)} onPick={(next) => pick(named(next))} /> : (
        <select class="compact" aria-label={texts.rounds} value={step.step} onChange={(event) => pick(event.currentTarget.value)}>
          {runs.map((each) => <option key={each.id} value={each.step}>{nameOf(nameIn(each), each)}</option>)}
        </select>
      )}
      <button class="btn icon" aria-label={texts.roundAfter} disabled={after === undefined} onClick={() => pick(after)}>›</button>
      {!isCut && <span class="muted small">{texts.roundOf(at + 1, runs.length)}</span>}
      <button class="btn quiet small-btn" onClick={() => choose({ node: path, in: location.peek().query.get("in") ?? undefined })}>{texts.allRounds}</button>
      {failed.length > 0 && !(failed.length === 1 && failed[0]!.id === step.id) && <button class="btn quiet small-btn right" onClick={() => pick(failed[(failed.findIndex(({ id }) => id === step.id) + 1) % failed.length]?.step)}>{texts.nextFailed(failed.length)}</button>}
    </div>
  );
}
