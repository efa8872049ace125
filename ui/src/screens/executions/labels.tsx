/** The labels of an execution; one that is chosen becomes a filter of the list. */
import { to } from "../../app/router";
import { facts } from "../../texts/facts";

export function LabelTags({ labels, onChoose }: { labels: Readonly<Record<string, string>> | undefined; onChoose?: (name: string, value: string) => void }) {
  if (labels === undefined) return null;
  return (
    <span class="row tight labels">
      {Object.entries(labels).map(([name, value]) => {
        const title = facts.onlyLabel(name, value);
        const text = `${name}: ${value}`;
        return onChoose === undefined
          ? <a key={name} class="tag cut" href={to("/executions", { [`label.${name}`]: value })} title={title}>{text}</a>
          : <button key={name} class="tag cut" title={title} onClick={() => onChoose(name, value)}>{text}</button>;
      })}
    </span>
  );
}
