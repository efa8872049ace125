/** The page on which an account allows a login of the command line: the code goes to a loopback address, or is shown. */
import { useSignal } from "@preact/signals";
import { api } from "../api/client";
import { Failure } from "../parts/parts";
import { CopyButton, useSubmission } from "../parts/tools";
import { commandLogin as texts } from "../texts/command-login";
import { common } from "../texts/common";
import { location } from "./router";
import { account, withRecentLogin } from "./session";

const CHARACTERS = 80;

/** What the address asks for; undefined if it is not one of the command's. The address may be anybody's: a link. */
function read(query: URLSearchParams): { challenge: string; machine: string; state: string; port: number | undefined } | undefined {
  const [challenge, machine, state, port] = ["challenge", "machine", "state", "port"].map((name) => query.get(name) ?? "") as [string, string, string, string];
  if (!/^[0-9a-f]{64}$/.test(challenge) || !/^[\w-]{16,64}$/.test(state) || !/^(\d{4,5})?$/.test(port)) return undefined;
  const number = port === "" ? undefined : Number(port);
  if (number !== undefined && (number < 1024 || number > 65535)) return undefined;
  return { challenge, machine: machine.slice(0, CHARACTERS), state, port: number };
}

export default function CommandLoginPage() {
  document.title = `${texts.title} · ${common.product}`;
  const asked = read(location.value.query);
  const { fault, busy, run } = useSubmission();
  const code = useSignal<string | undefined>(undefined);
  const denied = useSignal(false);
  const allow = () =>
    run(async () => {
      if (asked === undefined) return;
      const { challenge } = asked;
      const answer = await withRecentLogin(() => api.post("/api/v1/auth/command-logins", { body: { challenge } }));
      if (asked.port === undefined) code.value = answer.code;
      // Nowhere but to this computer.
      else window.location.assign(`http://127.0.0.1:${asked.port}/?${new URLSearchParams({ state: asked.state, code: answer.code })}`);
    });
  return (
    <main class="alone">
      <div class="card">
        <div class="brand">{common.product}</div>
        <h1>{texts.title}</h1>
        {fault !== undefined && <Failure error={fault} />}
        {asked === undefined ? <p role="alert">{texts.faulty}</p>
          : denied.value ? <p role="status">{texts.denied}</p>
          : code.value !== undefined ? (
            <div class="stack" role="status">
              <p>{texts.paste}</p>
              <p class="shown-code mono wrap">{code.value}</p>
              <CopyButton text={code.value} />
            </div>
          ) : (
            <div class="stack">
              <p>{texts.asks} <b>{account.value?.email}</b>. {asked.machine !== "" && texts.on(asked.machine)}</p>
              <p>{texts.compare}</p>
              <p class="shown-code mono">{asked.challenge.slice(0, 4)}-{asked.challenge.slice(4, 8)}</p>
              <p class="muted">{texts.warning}</p>
              <div class="row">
                <button class="btn primary" disabled={busy} onClick={allow}>{texts.allow}</button>
                <button class="btn right" disabled={busy} onClick={() => (denied.value = true)}>{texts.deny}</button>
              </div>
            </div>
          )}
      </div>
    </main>
  );
}
