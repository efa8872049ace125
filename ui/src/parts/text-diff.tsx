/** The differences between two texts, line by line, with equal parts folded. */
import { useMemo } from "preact/hooks";
import { diffLines, linesOf, type LineChange } from "../diff/lines";
import { revisions as texts } from "../texts/revisions";
import { Empty } from "./parts";

const CONTEXT = 4;

/** Return the changes in groups: those worth showing, and the numbers of equal lines between them. */
export function folded(changes: readonly LineChange[], isFirst: boolean): (LineChange | number)[] {
  if (isFirst) return [...changes];
  const near = changes.map(() => false);
  changes.forEach((change, index) => {
    if (change.kind === "same") return;
    for (let i = Math.max(0, index - CONTEXT); i <= Math.min(changes.length - 1, index + CONTEXT); i++) near[i] = true;
  });
  const shown: (LineChange | number)[] = [];
  changes.forEach((change, index) => {
    const last = shown.at(-1);
    if (near[index]) shown.push(change);
    else if (typeof last === "number") shown[shown.length - 1] = last + 1;
    else shown.push(1);
  });
  return shown;
}

const SIGNS = { same: " ", added: "+", removed: "−" };

export function TextDiff({ before, after, label, isFirst = false }: { before: string; after: string; label: string; isFirst?: boolean }) {
  const changes = useMemo(() => diffLines(linesOf(before), linesOf(after)), [before, after]);
  if (!isFirst && changes.every(({ kind }) => kind === "same")) return <div class="card"><Empty title={texts.same} /></div>;
  return (
    <div class="card scroll" role="group" aria-label={label} tabIndex={0}>
      <table class="diff">
        <tbody>
          {folded(changes, isFirst).map((line, index) =>
            typeof line === "number" ? (
              <tr key={index} class="diff-fold"><td colSpan={4}>{texts.hidden(line)}</td></tr>
            ) : (
              <tr key={index} class={isFirst ? "diff-same" : `diff-${line.kind}`}>
                <td class="num">{line.before}</td><td class="num">{line.after}</td><td aria-label={line.kind}>{isFirst ? " " : SIGNS[line.kind]}</td><td><code>{line.text}</code></td>
              </tr>
            ),
          )}
        </tbody>
      </table>
    </div>
  );
}
