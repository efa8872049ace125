/** A field of the form of a node, whose value is written into the text. */
import { useSignal } from "@preact/signals";
import { useEffect, useId, useRef } from "preact/hooks";
import { SchemaField } from "../../forms/field";
import { textOf, valueOf, type FormField } from "../../forms/fields";
import type { FlowEditor } from "./state";

/** Keep what is typed in a field, and note for the editor how it is written: a save must not leave it out. */
export function useTyped(model: FlowEditor, write: (typed: string) => boolean): { typed: string | undefined; type: (text: string) => void; commit: () => boolean } {
  const key = useId();
  const typed = useSignal<string | undefined>(undefined);
  const latest = useRef(write);
  latest.current = write;
  const commit = () => {
    const text = typed.peek();
    if (text === undefined) return true;
    if (!latest.current(text)) return false;
    typed.value = undefined;
    model.note(key, undefined);
    return true;
  };
  useEffect(() => () => model.note(key, undefined), []);
  return {
    typed: typed.value,
    type: (text) => {
      typed.value = text;
      model.note(key, commit);
    },
    commit,
  };
}

/** A field that keeps what is typed until it is left or the flow is saved, then writes it if it is a value. */
export function NodeField({ model, field, value, onValue }: { model: FlowEditor; field: FormField; value: unknown; onValue: (value: unknown) => void }) {
  const written = textOf(field, value);
  const { typed, type, commit } = useTyped(model, (text) => {
    const result = valueOf(field, text);
    if ("fault" in result) return false;
    if (text !== written) onValue(result.value);
    return true;
  });
  const result = valueOf(field, typed ?? written);
  return <div onChange={commit}><SchemaField field={field} text={typed ?? written} fault={typed !== undefined && "fault" in result ? result.fault : undefined} onText={type} /></div>;
}
