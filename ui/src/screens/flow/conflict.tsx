/** The choice after somebody else has saved the flow: a merge of both, line by line, or one of the two. */
import { useSignal } from "@preact/signals";
import { useMemo } from "preact/hooks";
import { linesOf, merge, type Chunk } from "../../diff/lines";
import { Dialog } from "../../parts/dialog";
import { flow as texts } from "../../texts/flow";
import type { Conflict } from "./state";

type Choice = "mine" | "theirs" | "both";
type Conflicting = Extract<Chunk, { kind: "conflict" }>;

interface Props {
  conflict: Conflict;
  text: string;
  onChoose: (text: string) => void;
  onClose: () => void;
}

export function ConflictDialog({ conflict, text, onChoose, onClose }: Props) {
  const theirs = conflict.theirs.flow.definition;
  const chunks = useMemo(() => merge(linesOf(conflict.base ?? ""), linesOf(text), linesOf(theirs)), [conflict, text]);
  const choices = useSignal<readonly Choice[]>([]);
  const conflicts = chunks.filter((chunk): chunk is Conflicting => chunk.kind === "conflict");
  const choose = (index: number, choice: Choice) => {
    const next = [...choices.peek()];
    next[index] = choice;
    choices.value = next;
  };
  return (
    <Dialog
      title={texts.conflict}
      wide
      onClose={onClose}
      actions={<>
        <button class="btn" onClick={() => onChoose(theirs)}>{texts.takeTheirs}</button>
        <button class="btn" onClick={() => onChoose(text)}>{texts.keepMine}</button>
        <button class="btn primary" onClick={() => onChoose(merged(chunks, choices.peek()))}>{texts.useMerged}</button>
      </>}
    >
      <p>{texts.conflictHint(conflict.theirs.flow.revision)} {conflict.base === undefined ? texts.noBase : conflicts.length === 0 ? texts.conflictFree : texts.conflicts(conflicts.length)}</p>
      {conflicts.map((chunk, index) => <Place key={index} chunk={chunk} number={index + 1} choice={choices.value[index] ?? "mine"} onChoose={(choice) => choose(index, choice)} />)}
    </Dialog>
  );
}

function Place({ chunk, number, choice, onChoose }: { chunk: Conflicting; number: number; choice: Choice; onChoose: (choice: Choice) => void }) {
  const sides: [Choice, string, readonly string[]][] = [["mine", texts.mine, chunk.mine], ["theirs", texts.theirs, chunk.theirs]];
  return (
    <fieldset class="conflict">
      <legend>{texts.place(number)}</legend>
      {chunk.base.length > 0 && <div class="conflict-base"><span class="small muted">{texts.before}</span><Lines of={chunk.base} /></div>}
      <div class="conflict-sides">
        {sides.map(([value, label, lines]) => (
          <label key={value} class={choice === value || choice === "both" ? "chosen" : ""}>
            <span><input type="radio" name={`place-${number}`} checked={choice === value} onChange={() => onChoose(value)} /> {label}</span>
            <Lines of={lines} />
          </label>
        ))}
      </div>
      <label class="check"><input type="radio" name={`place-${number}`} checked={choice === "both"} onChange={() => onChoose("both")} /> {texts.both}</label>
    </fieldset>
  );
}

function Lines({ of }: { of: readonly string[] }) {
  return <pre>{of.length === 0 ? texts.nothing : of.join("\n")}</pre>;
}

function merged(chunks: readonly Chunk[], choices: readonly Choice[]): string {
  let number = 0;
  const lines = chunks.flatMap((chunk) => {
    if (chunk.kind === "merged") return chunk.lines;
    const choice = choices[number++] ?? "mine";
    return [...(choice === "theirs" ? [] : chunk.mine), ...(choice === "mine" ? [] : chunk.theirs)];
  });
  return lines.join("\n") + "\n";
}
