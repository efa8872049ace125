/** The request for a link that sets a new password. */
import { useSignal } from "@preact/signals";
import type { ComponentChildren, TargetedEvent } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { api } from "../api/client";
import { Field, Form } from "../parts/form";
import { useSubmission } from "../parts/tools";
import { passwords as texts } from "../texts/passwords";
import { shell } from "../texts/shell";

/** A form that ends with a message instead of itself. */
export function useForm(send: (form: FormData) => Promise<unknown>) {
  const submission = useSubmission();
  const isDone = useSignal(false);
  function onSubmit(event: TargetedEvent<HTMLFormElement, Event>): void {
    event.preventDefault();
    const fields = new FormData(event.currentTarget);
    submission.run(() => send(fields).then(() => void (isDone.value = true)));
  }
  return { submission, isDone, onSubmit };
}

/** What has been done, in the place of the form: it is read aloud. */
export function Told({ children }: { children: ComponentChildren }) {
  const text = useRef<HTMLParagraphElement>(null);
  useEffect(() => text.current?.focus(), []);
  return <p ref={text} tabIndex={-1}>{children}</p>;
}

export function ForgottenPassword({ onClose }: { onClose: () => void }) {
  const form = useForm((data) => api.post("/api/v1/auth/password-reset", { body: { email: String(data.get("email")) } }));
  return (
    <>
      {form.isDone.value ? <Told>{texts.sent}</Told> : (
        <Form error={form.submission.fault} onSubmit={form.onSubmit}>
          <Field label={shell.email} hint={texts.askHint}>
            {(id, note) => <input id={id} aria-describedby={note} name="email" type="email" autocomplete="username" required autofocus />}
          </Field>
          <button class="btn primary" disabled={form.submission.busy}>{texts.ask}</button>
        </Form>
      )}
      <button class="btn quiet" onClick={onClose}>{shell.logIn}</button>
    </>
  );
}
