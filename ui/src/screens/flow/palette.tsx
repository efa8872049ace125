/** The node types to choose from, found by their names and descriptions. */
import { useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { Dialog } from "../../parts/dialog";
import { Prose } from "../../parts/prose";
import { build as texts } from "../../texts/build";
import type { NodeType } from "./language";

interface Props {
  title: string;
  types: readonly NodeType[];
  onChoose: (type: NodeType) => void;
  onClose: () => void;
}

export function matching(types: readonly NodeType[], text: string): readonly NodeType[] {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  const also = ({ name }: NodeType) => texts.also[name]?.split(" ") ?? [];
  const fits = (type: NodeType) =>
    words.every((word) => type.name.includes(word) || type.description.toLowerCase().includes(word) || also(type).some((other) => other.startsWith(word)));
  // Older forms come last: nobody begins with one.
  const rank = (type: NodeType) =>
    words.length > 0 && (type.name.startsWith(words[0]!) || also(type).includes(words[0]!)) ? 0 : type.description.startsWith("An older form") ? 2 : 1;
  return types.filter(fits).sort((a, b) => rank(a) - rank(b));
}

export function Palette({ title, types, onChoose, onClose }: Props) {
  const text = useSignal("");
  const at = useSignal(0);
  const list = useRef<HTMLUListElement>(null);
  const found = matching(types, text.value);
  const chosen = Math.min(at.value, found.length - 1);
  useEffect(() => list.current?.querySelector("[aria-selected=true]")?.scrollIntoView({ block: "nearest" }), [chosen]);
  function onKeyDown(event: KeyboardEvent): void {
    if (event.key === "ArrowDown") at.value = Math.min(chosen + 1, found.length - 1);
    else if (event.key === "ArrowUp") at.value = Math.max(chosen - 1, 0);
    else if (event.key === "Enter" && found[chosen] !== undefined) onChoose(found[chosen]);
    else return;
    // Otherwise the button that gets the focus back is pressed by the same Enter.
    event.preventDefault();
  }
  return (
    <Dialog title={title} onClose={onClose}>
      <input
        type="text"
        role="combobox"
        aria-expanded="true"
        aria-controls="types"
        aria-activedescendant={chosen < 0 ? undefined : `type-${chosen}`}
        autofocus
        aria-label={texts.search}
        placeholder={texts.search}
        value={text.value}
        onInput={(event) => { text.value = event.currentTarget.value; at.value = 0; }}
        onKeyDown={onKeyDown}
      />
      <ul id="types" class="type-choice" role="listbox" aria-label={title} ref={list}>
        {found.map((type, i) => (
          <li key={type.name} id={`type-${i}`} role="option" aria-selected={i === chosen} onClick={() => onChoose(type)}>
            <b class="mono">{type.name}</b>
            <span class="muted small"><Prose text={type.description} /></span>
          </li>
        ))}
      </ul>
      {found.length === 0 && <p class="muted" role="status">{texts.noMatch}</p>}
    </Dialog>
  );
}
