/** What the list of callbacks and the details of one show. */
import { api, type Schemas } from "../../api/client";
import { may } from "../../app/session";
import { ShownOnce } from "../../parts/shown-once";
import { done, warn } from "../../parts/toast";
import { useAction } from "../../parts/tools";
import { callbacks as texts } from "../../texts/callbacks";

export type Callback = Schemas["CallbackAnswer"];

/** Formats whose messages are signed. */
export const SIGNED: readonly Callback["format"][] = ["standard", "template"];

/** A signing secret, which is shown once. */
export function SecretDialog({ secret, onClose }: { secret: string; onClose: () => void }) {
  return <ShownOnce title={texts.secretTitle} hint={texts.secretHint} text={secret} onClose={onClose} />;
}

export function nameOf({ name, url }: Callback): string {
  return name || url;
}

export function CallbackState({ of: { enabled, failures, warning, last_error: error } }: { of: Callback }) {
  if (!enabled) return <span class="pill off">{texts.states.off}</span>;
  if (warning !== undefined) return <span class="pill wait">{texts.states.idle}</span>;
  if (failures > 0) return <span class="pill bad" title={[texts.failures(failures), error].filter(Boolean).join(": ")}>{texts.states.failing}</span>;
  return error === undefined ? <span class="pill ok">{texts.states.on}</span> : <span class="pill wait" title={error}>{texts.states.refused}</span>;
}

/** Send a message now, and say how that went. */
export function TestButton({ callback, onDone }: { callback: Callback; onDone: () => Promise<void> }) {
  const action = useAction();
  if (!may("editor")) return null;
  const test = async () => {
    const sent = await api.post("/api/v1/callbacks/{id}/test", { path: { id: callback.id } });
    await onDone();
    if (sent.state === "delivered" && sent.error !== undefined) warn(texts.partlyRefused(sent.error));
    else if (sent.state === "delivered") done(texts.tested(sent.status_code));
    else warn(texts.testFailed(sent.error ?? sent.state));
  };
  return <button class="btn" aria-label={`${texts.test}: ${nameOf(callback)}`} disabled={action.busy} onClick={() => action.run(test)}>{texts.test}</button>;
}
