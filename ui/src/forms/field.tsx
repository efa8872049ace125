/** Fields of a form, made from a JSON Schema. */
import { useId } from "preact/hooks";
import { Prose } from "../parts/prose";
import { forms as texts } from "../texts/forms";
import type { FormField } from "./fields";

interface Props {
  field: FormField;
  text: string;
  fault?: string;
  /** A dialog begins with it. */
  isFirst?: boolean;
  onText: (text: string) => void;
}

/** Defaults that say no more than an empty field. */
const NOTHING = ['""', "{}", "[]"];

/** A labelled control with its description or its fault. */
export function SchemaField({ field, text, fault, isFirst, onText }: Props) {
  const id = useId();
  const isChoice = field.kind === "choice" || field.kind === "boolean";
  const byDefault = field.default === undefined || isChoice || NOTHING.includes(JSON.stringify(field.default)) ? undefined : texts.byDefault(JSON.stringify(field.default));
  const note = [field.description && asSentence(field.description), field.format === "date-time" && texts.dateTime, byDefault && `${byDefault}.`].filter(Boolean).join(" ");
  const describedBy = note !== "" || fault !== undefined ? `${id}-note` : undefined;
  const shared = { id, "aria-describedby": describedBy, "aria-invalid": fault === undefined ? undefined : ("true" as const), "aria-required": field.isRequired ? ("true" as const) : undefined, autofocus: isFirst };
  return (
    <div class="field">
      <label for={id}>{field.title ?? field.name}{field.isRequired && <span class="muted"> · {texts.required}</span>}</label>
      <Control field={field} text={text} onText={onText} shared={shared} />
      {describedBy && <span id={describedBy} class={fault === undefined ? "hint" : "fault"}>{fault ?? <Prose text={note} />}</span>}
    </div>
  );
}

function asSentence(text: string): string {
  return /[.!?:]$/.test(text) ? text : `${text}.`;
}

function Control({ field, text, onText, shared }: { field: FormField; text: string; onText: (text: string) => void; shared: { id: string; autofocus?: boolean } & Record<string, string | boolean | undefined> }) {
  const onInput = (event: { currentTarget: { value: string } }) => onText(event.currentTarget.value);
  const placeholder = field.default === undefined ? undefined : String(typeof field.default === "object" ? JSON.stringify(field.default) : field.default);
  const isExpression = field.takesExpression && text.includes("${");
  if ((field.kind === "choice" || field.kind === "boolean") && !isExpression) {
    const choices = field.kind === "boolean" ? ["true", "false"] : field.choices;
    const isListed = text === "" || choices.includes(text);
    return (
      <select {...shared} value={text} onChange={onInput}>
        <option value="">{field.default !== undefined ? texts.byDefault(String(field.default)) : field.isRequired ? texts.choose : texts.unset}</option>
        {!isListed && <option value={text}>{text}</option>}
        {choices.map((choice) => <option key={choice} value={choice}>{choice}</option>)}
      </select>
    );
  }
  if (field.kind === "lines" || field.kind === "structure") {
    const rows = Math.min(12, Math.max(field.kind === "lines" ? 3 : 1, text.split("\n").length));
    return <textarea {...shared} rows={rows} value={text} spellcheck={false} placeholder={placeholder ?? (field.kind === "structure" ? texts.structure : undefined)} onInput={onInput} />;
  }
  const type = field.kind === "number" && !field.takesExpression ? "number" : field.kind === "date" ? "date" : "text";
  const list = field.takesExpression && field.choices.length > 0 ? `${shared.id}-choices` : undefined;
  return (
    <>
      <input {...shared} type={type} value={text} list={list} placeholder={placeholder} step={field.isInteger ? 1 : "any"} min={type === "number" ? field.minimum : undefined} max={type === "number" ? field.maximum : undefined} onInput={onInput} />
      {list && <datalist id={list}>{field.choices.map((choice) => <option key={choice} value={choice} />)}</datalist>}
    </>
  );
}
