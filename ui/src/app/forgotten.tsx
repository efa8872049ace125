/** The request for a link that sets a new password. */
import { useSignal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { api } from "../api/client";
import { Field, Form, useForm } from "../parts/form";
import { passwords as texts } from "../texts/passwords";
import { shell } from "../texts/shell";

/** What has been done, in the place of the form: it is read aloud. */
export function Told({ children }: { children: ComponentChildren }) {
  const text = useRef<HTMLParagraphElement>(null);
  useEffect(() => text.current?.focus(), []);
  return <p ref={text} tabIndex={-1}>{children}</p>;
}

export function ForgottenPassword({ onClose }: { onClose: () => void }) {
  const isDone = useSignal(false);
  const { busy, form } = useForm((fields) => api.post("/api/v1/auth/password-reset", { body: { email: String(fields.get("email")) } }).then(() => (isDone.value = true)));
  return (
    <>
      {isDone.value ? <Told>{texts.sent}</Told> : (
        <Form {...form}>
          <Field label={shell.email} hint={texts.askHint}>
            {(id, note) => <input id={id} aria-describedby={note} name="email" type="email" autocomplete="username" required autofocus />}
          </Field>
          <button class="btn primary" disabled={busy}>{texts.ask}</button>
        </Form>
      )}
      <button class="btn quiet" onClick={onClose}>{shell.logIn}</button>
    </>
  );
}
