/** The page of a login that lacks a required second factor, and can do nothing else than add one. */
import { Toasts } from "../parts/toast";
import { Factors } from "../screens/account/security";
import { common } from "../texts/common";
import { login } from "../texts/login";
import { shell } from "../texts/shell";
import { ExpiredDialog } from "./login";
import { go } from "./router";
import { logOut, open } from "./session";

export default function EnrolPage() {
  document.title = `${login.enrolTitle} · ${common.product}`;
  async function enter(): Promise<void> {
    if (await open()) go("/", { replace: true });
  }
  return (
    <main class="content narrow">
      <div class="row"><h1 class="grow">{login.enrolTitle}</h1><button class="btn" onClick={() => logOut()}>{shell.logOut}</button></div>
      <p class="muted">{login.enrolHint}</p>
      <Factors onConfirmed={() => void enter()} />
      <Toasts />
      <ExpiredDialog />
    </main>
  );
}
