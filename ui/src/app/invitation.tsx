/** The page of an invitation: its owner logs in and accepts, or makes an account. */
import { useSignal } from "@preact/signals";
import type { TargetedEvent } from "preact";
import { useEffect, useMemo } from "preact/hooks";
import { api, ApiError, type Schemas } from "../api/client";
import { Field, Form } from "../parts/form";
import { Failure, Skeleton, Time } from "../parts/parts";
import { common } from "../texts/common";
import { invitation as texts } from "../texts/invitation";
import { shell } from "../texts/shell";
import { workspace as workspaceTexts } from "../texts/workspace";
import { go, homeOf, withQuery } from "./router";
import { account, logIn, logOut, open, secondStepOf, workspaces, wrongLogin } from "./session";
import { forgetKept, takeKept } from "./token";

export default function InvitationPage() {
  document.title = `${texts.title} · ${common.product}`;
  const token = useMemo(() => takeKept("invitation"), []);
  const found = useSignal<Schemas["OpenInvitationAnswer"] | undefined>(undefined);
  const fault = useSignal<unknown>(undefined);
  const busy = useSignal(false);
  const methods = useSignal<Schemas["LoginMethods"] | undefined>(undefined);
  const way = useSignal<"choose" | "log in" | "sign up">("choose");
  useEffect(() => {
    // Both at once, so that nothing jumps.
    Promise.all([api.post("/api/v1/invitations/lookup", { body: { token } }), api.get("/api/v1/auth/methods")]).then(
      ([answer, offered]) => {
        methods.value = offered;
        if (!answer.sign_up && offered.providers.length === 0) way.value = "log in";
        found.value = answer;
      },
      (error: unknown) => {
        if (error instanceof ApiError && error.status === 404) forgetKept("invitation");
        fault.value = error;
      },
    );
  }, []);
  async function run(work: () => Promise<void>): Promise<void> {
    busy.value = true;
    try {
      await work();
    } catch (error) {
      // The page of the login asks for it, and leads back to this one.
      if (secondStepOf(error) === undefined) fault.value = error;
      else go(withQuery("/login", { next: "/invitation" }));
    } finally {
      busy.value = false;
    }
  }
  function choose(other: "log in" | "sign up"): void {
    way.value = other;
    fault.value = undefined;
  }
  async function accept(): Promise<void> {
    const accepted = await api.post("/api/v1/invitations/accept", { body: { token } });
    forgetKept("invitation");
    await enter(accepted.workspace_id);
  }
  async function enter(workspace: string): Promise<void> {
    await open();
    go(`/w/${encodeURIComponent(workspace)}`, { replace: true });
  }
  function submit(event: TargetedEvent<HTMLFormElement, Event>): void {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    const password = String(form.get("password"));
    const email = found.value?.email ?? "";
    void run(async () => {
      if (way.value === "sign up") {
        await api.post("/api/v1/invitations/sign-up", { body: { token, name: String(form.get("name")).trim(), password } });
        forgetKept("invitation");
        await logIn(email, password);
        await open();
        // A new account has a workspace of its own, and the one to which it was invited.
        const joined = workspaces.value.find(({ id }) => id !== account.value?.id);
        go(joined === undefined ? "/" : homeOf(joined), { replace: true });
      } else {
        await logIn(email, password);
        await accept();
      }
    });
  }
  const invitation = found.value;
  const makesAccount = way.value === "sign up";
  const isOwn = account.value !== undefined && account.value.email === invitation?.email;
  const hasForm = invitation !== undefined && account.value === undefined && way.value !== "choose" && methods.value?.password === true;
  const isUnknown = invitation === undefined && fault.value instanceof ApiError && fault.value.status === 404;
  return (
    <main class="alone">
      <div class="card">
        <div class="brand">{common.product}</div>
        <h1>{isUnknown ? texts.over : texts.title}</h1>
        {isUnknown ? <p class="muted">{texts.overHint}</p> : fault.value !== undefined && !hasForm && <Failure error={fault.value} />}
        {invitation === undefined ? fault.value === undefined && <Skeleton rows={3} /> : (
          <>
            <p>{texts.invites(invitation.invited_by)} <b>{invitation.workspace}</b> ({workspaceTexts.roles[invitation.role]}).</p>
            <p class="muted small">{texts.forAddress(invitation.email)} <Time at={invitation.expires_at} />.</p>
            {isOwn ? <button class="btn primary" disabled={busy.value} onClick={() => void run(accept)}>{texts.accept}</button>
              : account.value !== undefined ? <><p>{texts.otherAccount(account.value.email)}</p><button class="btn" onClick={() => logOut()}>{shell.logOut}</button></>
              : !hasForm ? (
                <div class="stack">
                  {invitation.sign_up && <button class="btn primary" onClick={() => choose("sign up")}>{texts.toSignUp}</button>}
                  {methods.value?.password && <button class="btn" onClick={() => choose("log in")}>{texts.toLogIn}</button>}
                  {methods.value?.providers.map(({ id, name, start }) => <a key={id} class="btn" href={withQuery(start, { next: "/invitation" })}>{shell.logInWith(name)}</a>)}
                  {methods.value?.password !== true && methods.value?.providers.length === 0 && <p class="muted">{texts.noLogin}</p>}
                </div>
              ) : (
                <Form error={wrongLogin(fault.value)} onSubmit={submit}>
                  {makesAccount && <Field label={shell.setUpName}>{(id) => <input id={id} name="name" autocomplete="name" required maxLength={200} autofocus />}</Field>}
                  <input type="hidden" name="email" autocomplete="username" value={invitation.email} />
                  <Field label={shell.password} hint={makesAccount ? shell.setUpPasswordHint : undefined}>
                    {(id, note) => <input id={id} aria-describedby={note} name="password" type="password" autocomplete={makesAccount ? "new-password" : "current-password"} required autofocus={!makesAccount} />}
                  </Field>
                  <button class="btn primary" disabled={busy.value}>{makesAccount ? texts.signUp : texts.logIn}</button>
                  {invitation.sign_up && <button class="btn quiet" type="button" onClick={() => choose(makesAccount ? "log in" : "sign up")}>{makesAccount ? texts.toLogIn : texts.toSignUp}</button>}
                </Form>
              )}
          </>
        )}
        {isUnknown && <a class="btn quiet" href="/login">{shell.logIn}</a>}
      </div>
    </main>
  );
}
