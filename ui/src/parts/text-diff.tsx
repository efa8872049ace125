/** The differences between two texts, line by line, with equal parts folded. */
import { useMemo } from "preact/hooks";
import { diffLines, folded, linesOf } from "../diff/lines";
import { revisions as texts } from "../texts/revisions";
import { Empty } from "./parts";

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
