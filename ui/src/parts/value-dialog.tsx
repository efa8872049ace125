/** The dialog in which a value is written that is stored for flows, over nothing that the reader has not seen. */
import { useSignal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { ApiError } from "../api/client";
import { common } from "../texts/common";
import { value as texts } from "../texts/value";
import { Field, FormDialog } from "./form";
import { done } from "./toast";
import { kindOf, textOf, valueOf } from "./written-value";

/** A value as it was read, and its state then. */
export interface Read {
  readonly value: unknown;
  readonly etag: string;
}

interface Props {
  /** The title for a new value. */
  title: string;
  /** What is replaced; undefined for a new value. */
  edited: Read | undefined;
  name: string;
  /** Says which value it is, where that is more than its name. */
  place?: string;
  /** The screen knows that there is a value of this name. */
  isListed?: boolean;
  hint: string;
  /** Null is a value. */
  takesNull?: boolean;
  /** The value is what is left to write. */
  isNamed?: boolean;
  /** The fields above a new value, with what is wrong with its name. */
  naming: (fault: string | undefined) => ComponentChildren;
  /** The fields below the value. */
  children?: ComponentChildren;
  save: (value: unknown, headers: { "If-Match": string } | { "If-None-Match": string }) => Promise<unknown>;
  onClose: () => void;
}

export function ValueDialog({ title, edited, name, place = name, isListed, takesNull = false, hint, isNamed = edited !== undefined, naming, children, save, onClose }: Props) {
  const text = useSignal(edited === undefined ? "" : textOf(edited.value));
  /** What the server has, though the list has not. */
  const taken = useSignal<string | undefined>(undefined);
  const isNew = edited === undefined;
  const value = valueOf(text.value);
  const exists = isNew && (isListed === true || taken.value === place);
  async function send(): Promise<void> {
    try {
      // Another person may add or change it at this moment.
      await save(value, isNew ? { "If-None-Match": "*" } : { "If-Match": edited.etag });
    } catch (reason) {
      if (!isNew || !(reason instanceof ApiError) || reason.status !== 412) throw reason;
      taken.value = place;
      return;
    }
    done(texts.saved(name));
    onClose();
  }
  return (
    <FormDialog title={isNew ? title : texts.editTitle(name)} action={common.save} isUnready={exists || (value === null && !takesNull)} onSubmit={send} onClose={onClose}>
      {isNew && naming(exists ? texts.exists(name) : undefined)}
      <div class="stack tight">
        <Field label={texts.value} hint={hint}>
          {(id, note) => <textarea id={id} aria-describedby={note} class="mono" name="value" rows={4} autofocus={isNamed} autocomplete="off" spellcheck={false} value={text.value} onInput={(event) => (text.value = event.currentTarget.value)} />}
        </Field>
        <span class="muted small" role="status">{value === null && takesNull ? texts.isNull : texts.kinds[kindOf(value)]}</span>
      </div>
      {children}
    </FormDialog>
  );
}
