/** The request for a link that sets a new password. */
import { useSignal } from "@preact/signals";
import type { TargetedEvent } from "preact";
import { api, ApiError } from "../api/client";
import { Field, Form } from "../parts/form";
import { passwords as texts } from "../texts/passwords";
import { shell } from "../texts/shell";

/** A form that ends with a message instead of itself. */
export function useForm(send: (form: FormData) => Promise<unknown>) {
  const fault = useSignal<ApiError | undefined>(undefined);
  const busy = useSignal(false);
  const isDone = useSignal(false);
  async function submit(event: TargetedEvent<HTMLFormElement, Event>): Promise<void> {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    busy.value = true;
    try {
      await send(form);
      isDone.value = true;
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      fault.value = error;
    } finally {
      busy.value = false;
    }
  }
  return { fault, busy, isDone, onSubmit: (event: TargetedEvent<HTMLFormElement, Event>) => void submit(event) };
}

export function ForgottenPassword({ onClose }: { onClose: () => void }) {
  const form = useForm((data) => api.post("/api/v1/auth/password-reset", { body: { email: String(data.get("email")) } }));
  return (
    <>
      {form.isDone.value ? <p>{texts.sent}</p> : (
        <Form error={form.fault.value} onSubmit={form.onSubmit}>
          <Field label={shell.email} hint={texts.askHint}>
            {(id, note) => <input id={id} aria-describedby={note} name="email" type="email" autocomplete="username" required autofocus />}
          </Field>
          <button class="btn primary" disabled={form.busy.value}>{texts.ask}</button>
        </Form>
      )}
      <button class="btn quiet" onClick={onClose}>{shell.logIn}</button>
    </>
  );
}
