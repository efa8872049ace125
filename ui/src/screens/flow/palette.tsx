/** The node types to choose from, found by their names and descriptions. */
import { useSignal } from "@preact/signals";
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
  const fits = (type: NodeType) => words.every((word) => type.name.includes(word) || type.description.toLowerCase().includes(word));
  // Older forms come last: nobody begins with one.
  const rank = (type: NodeType) => (words.length > 0 && type.name.startsWith(words[0]!) ? 0 : type.description.startsWith("An older form") ? 2 : 1);
  return types.filter(fits).sort((a, b) => rank(a) - rank(b));
}

export function Palette({ title, types, onChoose, onClose }: Props) {
  const text = useSignal("");
  const found = matching(types, text.value);
  return (
    <Dialog title={title} onClose={onClose}>
      <input
        type="search"
        autofocus
        aria-label={texts.search}
        placeholder={texts.search}
        value={text.value}
        onInput={(event) => (text.value = event.currentTarget.value)}
        onKeyDown={(event) => {
          if (event.key === "Enter" && found[0] !== undefined) onChoose(found[0]);
        }}
      />
      <ul class="type-choice">
        {found.map((type) => (
          <li key={type.name}>
            <button onClick={() => onChoose(type)}>
              <b class="mono">{type.name}</b>
              <span class="muted small"><Prose text={type.description} /></span>
            </button>
          </li>
        ))}
        {found.length === 0 && <li class="muted">{texts.noMatch}</li>}
      </ul>
    </Dialog>
  );
}
