/** The page that sets a new password by a link. */
import { useMemo } from "preact/hooks";
import { api } from "../api/client";
import { Field, Form } from "../parts/form";
import { common } from "../texts/common";
import { passwords as texts } from "../texts/passwords";
import { shell } from "../texts/shell";
import { useForm } from "./forgotten";
import { takeToken } from "./token";

export default function NewPasswordPage() {
  document.title = `${texts.title} · ${common.product}`;
  const token = useMemo(takeToken, []);
  const form = useForm((data) => api.post("/api/v1/auth/new-password", { body: { token, password: String(data.get("password")) } }));
  const isOver = form.fault.value?.status === 404;
  return (
    <main class="alone">
      <div class="card">
        <div class="brand">{common.product}</div>
        <h1>{isOver ? texts.over : texts.title}</h1>
        {isOver ? <p class="muted">{texts.overHint}</p> : form.isDone.value ? <p>{texts.done}</p> : (
          <Form error={form.fault.value} onSubmit={form.onSubmit}>
            <Field label={texts.password} hint={shell.setUpPasswordHint}>
              {(id, note) => <input id={id} aria-describedby={note} name="password" type="password" autocomplete="new-password" required autofocus />}
            </Field>
            <p class="muted small">{texts.ends}</p>
            <button class="btn primary" disabled={form.busy.value}>{texts.set}</button>
          </Form>
        )}
        <a class="btn quiet" href="/login">{shell.logIn}</a>
      </div>
    </main>
  );
}
