/** Forms whose faults stand beside their fields. */
import { cloneElement, createContext, type ComponentChildren, type FormHTMLAttributes, type TargetedEvent, type VNode } from "preact";
import { useContext, useEffect, useId, useRef } from "preact/hooks";
import { common } from "../texts/common";
import { Dialog } from "./dialog";
import { fieldFaults } from "./field-faults";
import { Failure } from "./parts";
import { useSubmission } from "./tools";

interface Shown {
  readonly faults: ReadonlyMap<string, string>;
  /** The names of the fields of the form. */
  readonly fields: Set<string>;
}

const Context = createContext<Shown>({ faults: new Map(), fields: new Set() });

interface Props extends Omit<FormHTMLAttributes<HTMLFormElement>, "children"> {
  /** Why the server has refused what was sent. */
  error: unknown;
  /** The field that a conflict is about. */
  conflict?: string;
  /** The field that a 401 is about. */
  denied?: string;
  children: ComponentChildren;
}

/** A form; what was refused stands at its field, which gets the focus, and above all fields if it is about none of them. */
export function Form({ error, conflict, denied, children, class: look = "stack", ...rest }: Props) {
  const form = useRef<HTMLFormElement>(null);
  const fields = useRef(new Set<string>()).current;
  const faults = fieldFaults(error, { conflict, denied });
  const isBeside = faults.size > 0 && [...faults.keys()].every((name) => fields.has(name));
  // The browser does so for a page and a dialog alone.
  useEffect(() => {
    if (!form.current?.contains(document.activeElement)) form.current?.querySelector<HTMLElement>("[autofocus]")?.focus();
  }, []);
  // A failure that is the same as the last is read aloud again.
  const failures = useRef({ last: undefined as unknown, count: 0 }).current;
  if (failures.last !== error) Object.assign(failures, { last: error, count: failures.count + 1 });
  useEffect(() => {
    if (error !== undefined) form.current?.querySelector<HTMLElement>("[aria-invalid=true]")?.focus();
  }, [error]);
  return (
    <form ref={form} class={look} {...rest}>
      <Context.Provider value={{ faults, fields }}>
        {error !== undefined && !isBeside && <Failure key={failures.count} error={error} />}
        {children}
      </Context.Provider>
    </form>
  );
}

type Send = (fields: FormData, form: HTMLFormElement) => Promise<unknown>;

/** The state of a form, and what it needs to send its fields; `run` does something else whose failure it shows. */
export function useForm(send: Send) {
  const { busy, fault, run } = useSubmission();
  function onSubmit(event: TargetedEvent<HTMLFormElement, Event>): void {
    event.preventDefault();
    const form = event.currentTarget;
    const fields = new FormData(form);
    run(() => send(fields, form));
  }
  return { busy, run, form: { error: fault, onSubmit } };
}

/** Return what is typed in a field, without spaces around it. */
export function textIn(fields: FormData, name: string): string {
  return String(fields.get(name) ?? "").trim();
}

interface Asking extends Pick<Props, "conflict" | "children"> {
  title: string;
  /** The button that sends the form. */
  action: string;
  isDanger?: boolean;
  /** The form cannot be sent yet. */
  isUnready?: boolean;
  onSubmit: Send;
  onClose: () => void;
}

/** A dialog that is a form. */
export function FormDialog({ title, action, isDanger, isUnready, conflict, onSubmit, onClose, children }: Asking) {
  const { busy, form } = useForm(onSubmit);
  return (
    <Dialog title={title} onClose={onClose}>
      <Form {...form} conflict={conflict}>
        {children}
        <div class="row"><span class="grow" /><button class="btn" type="button" onClick={onClose}>{common.cancel}</button><button class={isDanger ? "btn danger" : "btn primary"} disabled={busy || isUnready}>{action}</button></div>
      </Form>
    </Dialog>
  );
}

/** A labelled control with its hint, or with what is wrong: `fault`, or what the server says of the control's `name`. */
export function Field({ label, hint, fault, children }: { label: string; hint?: string; fault?: string; children: (id: string, describedBy: string | undefined) => VNode<{ name?: string }> }) {
  const id = useId();
  const { faults, fields } = useContext(Context);
  const control = children(id, hint === undefined ? undefined : `${id}-note`);
  const { name } = control.props;
  if (name !== undefined) fields.add(name);
  const wrong = fault ?? (name === undefined ? undefined : faults.get(name));
  const note = wrong ?? hint;
  return (
    <div class="field">
      <label for={id}>{label}</label>
      {wrong === undefined ? control : cloneElement(control as VNode<object>, { "aria-invalid": "true", "aria-describedby": `${id}-note` })}
      {note !== undefined && <span id={`${id}-note`} class={wrong === undefined ? "hint" : "fault"} role={wrong === undefined ? undefined : "alert"}>{note}</span>}
    </div>
  );
}
