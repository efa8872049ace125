/** The request for a link that sets a new password. */
import { useSignal } from "@preact/signals";
import type { TargetedEvent } from "preact";
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

export function ForgottenPassword({ onClose }: { onClose: () => void }) {
  const form = useForm((data) => api.post("/api/v1/auth/password-reset", { body: { email: String(data.get("email")) } }));
  return (
    <>
      {form.isDone.value ? <p>{texts.sent}</p> : (
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
