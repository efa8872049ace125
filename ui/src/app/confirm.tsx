/** The page of a link that confirms an e-mail address, in a login of its account. */
import { useSignal } from "@preact/signals";
import { useMemo } from "preact/hooks";
import { api, ApiError } from "../api/client";
import { Failure } from "../parts/parts";
import { useSubmission } from "../parts/tools";
import { common } from "../texts/common";
import { confirm as texts } from "../texts/confirm";
import { shell } from "../texts/shell";
import { Told } from "./forgotten";
import { withQuery } from "./router";
import { account, logOut } from "./session";
import { forgetKept, takeKept } from "./token";

export default function ConfirmPage() {
  document.title = `${texts.title} · ${common.product}`;
  const token = useMemo(() => takeKept("confirmation"), []);
  const { fault, busy, run } = useSubmission();
  const done = useSignal(false);
  const own = account.value;
  const confirm = () =>
    run(async () => {
      account.value = await api.post("/api/v1/accounts/me/email-confirmation/confirm", { body: { token } });
      forgetKept("confirmation");
      done.value = true;
    });
  const isOver = fault instanceof ApiError && fault.status === 404;
  return (
    <main class="alone">
      <div class="card">
        <div class="brand">{common.product}</div>
        <h1>{done.value ? texts.done : isOver ? texts.over : texts.title}</h1>
        {isOver ? <Told>{texts.overHint}</Told> : done.value ? <Told>{own?.email}</Told> : fault !== undefined && <Failure error={fault} />}
        {done.value || isOver ? <a class="btn" href="/">{texts.go}</a>
          : own === undefined ? <><p>{texts.logInFirst}</p><a class="btn primary" href={withQuery("/login", { next: "/confirm-email" })}>{shell.logIn}</a></>
          : (
            <div class="stack">
              <p>{texts.asks} <b>{own.email}</b></p>
              <button class="btn primary" disabled={busy} onClick={confirm}>{texts.confirm}</button>
              <button class="btn quiet" onClick={() => logOut()}>{shell.logOut}</button>
            </div>
          )}
      </div>
    </main>
  );
}
