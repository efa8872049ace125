/** The page of an invitation: its owner logs in and accepts, or makes an account. */
import { useSignal } from "@preact/signals";
import type { TargetedEvent } from "preact";
import { useMemo } from "preact/hooks";
import { api, ApiError } from "../api/client";
import { useQuery } from "../api/query";
import { Field, Form } from "../parts/form";
import { Failure, Skeleton, Time } from "../parts/parts";
import { useSubmission } from "../parts/tools";
import { common } from "../texts/common";
import { invitation as texts } from "../texts/invitation";
import { login } from "../texts/login";
import { shell } from "../texts/shell";
import { workspace as workspaceTexts } from "../texts/workspace";
import { go, homeOf, withQuery } from "./router";
import { account, logIn, logOut, open, secondStepOf, workspaces } from "./session";
import { forgetKept, takeKept } from "./token";

export default function InvitationPage() {
  document.title = `${texts.title} · ${common.product}`;
  const token = useMemo(() => takeKept("invitation"), []);
  // Both at once, so that nothing jumps.
  const found = useQuery("invitation", async (signal) => {
    const lookup = api.post("/api/v1/invitations/lookup", { body: { token }, signal });
    lookup.catch((error: unknown) => error instanceof ApiError && error.status === 404 && forgetKept("invitation"));
    const [answer, methods] = await Promise.all([lookup, api.get("/api/v1/auth/methods", { signal })]);
    return { invitation: answer, methods };
  });
  const submission = useSubmission();
  const choice = useSignal<"choose" | "log in" | "sign up" | undefined>(undefined);
  const { invitation, methods } = found.data ?? {};
  const way = choice.value ?? (invitation?.sign_up === false && methods?.providers.length === 0 ? "log in" : "choose");
  const run = (work: () => Promise<void>) =>
    submission.run(async () => {
      try {
        await work();
      } catch (error) {
        if (secondStepOf(error) === undefined) throw error;
        // The page of the login asks for it, and leads back to this one.
        go(withQuery("/login", { next: "/invitation" }));
      }
    });
  function choose(other: "log in" | "sign up"): void {
    choice.value = other;
    submission.clear();
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
    const email = invitation?.email ?? "";
    run(async () => {
      if (way === "sign up") {
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
  const makesAccount = way === "sign up";
  const isOwn = account.value !== undefined && account.value.email === invitation?.email;
  const hasForm = invitation !== undefined && account.value === undefined && way !== "choose" && methods?.password === true;
  const isUnknown = found.error?.status === 404;
  return (
    <main class="alone">
      <div class="card">
        <div class="brand">{common.product}</div>
        <h1>{isUnknown ? texts.over : texts.title}</h1>
        {isUnknown ? <p class="muted">{texts.overHint}</p> : found.error !== undefined && <Failure error={found.error} retry={found.reload} />}
        {submission.fault !== undefined && !hasForm && <Failure error={submission.fault} />}
        {invitation === undefined ? found.error === undefined && <Skeleton rows={3} /> : (
          <>
            <p>{texts.invites(invitation.invited_by)} <b>{invitation.workspace}</b> ({workspaceTexts.roles[invitation.role]}).</p>
            <p class="muted small">{texts.forAddress(invitation.email)} <Time at={invitation.expires_at} />.</p>
            {isOwn ? <button class="btn primary" disabled={submission.busy} onClick={() => run(accept)}>{texts.accept}</button>
              : account.value !== undefined ? <><p>{texts.otherAccount(account.value.email)}</p><button class="btn" onClick={() => logOut()}>{shell.logOut}</button></>
              : !hasForm ? (
                <div class="stack">
                  {invitation.sign_up && <button class="btn primary" onClick={() => choose("sign up")}>{texts.toSignUp}</button>}
                  {methods?.password && <button class="btn" onClick={() => choose("log in")}>{texts.toLogIn}</button>}
                  {methods?.providers.map(({ id, name, start }) => <a key={id} class="btn" href={withQuery(start, { next: "/invitation" })}>{shell.logInWith(name)}</a>)}
                  {methods?.password !== true && methods?.providers.length === 0 && <p class="muted">{texts.noLogin}</p>}
                </div>
              ) : (
                <Form error={submission.fault} onSubmit={submit}>
                  {makesAccount && <Field label={login.setUpName}>{(id) => <input id={id} name="name" autocomplete="name" required maxLength={200} autofocus />}</Field>}
                  <input type="hidden" name="email" autocomplete="username" value={invitation.email} />
                  <Field label={shell.password} hint={makesAccount ? login.setUpPasswordHint : undefined}>
                    {(id, note) => <input id={id} aria-describedby={note} name="password" type="password" autocomplete={makesAccount ? "new-password" : "current-password"} required autofocus={!makesAccount} />}
                  </Field>
                  <button class="btn primary" disabled={submission.busy}>{makesAccount ? texts.signUp : texts.logIn}</button>
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
