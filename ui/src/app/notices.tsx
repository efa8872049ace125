/** What every screen watches: the approvals that wait for the reader, and the pause of the installation, which it shows. */
import { useEffect } from "preact/hooks";
import { api, ApiError } from "../api/client";
import { whileSeen } from "../api/query";
import { Time } from "../parts/parts";
import { notices as texts } from "../texts/notices";
import { pausedAt, recountApprovals } from "./counts";
import { to } from "./router";
import { account } from "./session";

/** Milliseconds before the first look, so that the screen's own requests come first, and between looks. */
const FIRST = 1000;
const EVERY = 30_000;

// Here, because all screens load the style sheet.
const STRIP = { background: "var(--wait-soft)", padding: "var(--s2) clamp(16px, 3vw, 24px)" };

export function Notices() {
  useEffect(() => watch(recountApprovals), []);
  useEffect(() => watch(async () => {
    // The same for admins without the size of the database, which takes longer.
    const state = await (isAdmin() ? api.get("/api/v1/admin/pause") : api.get("/api/v1/system"));
    pausedAt.value = state.paused_at;
  }), []);
  return (
    <div role="status">
      {pausedAt.value !== undefined && (
        <p class="small" style={STRIP}>
          <span class="wait">{texts.paused}</span> <span class="muted">{texts.since} <Time at={pausedAt.value} />{isAdmin() && <> · <a class="link" href={to("/admin", { tab: "system" })}>{texts.system}</a></>}</span>
        </p>
      )}
    </div>
  );
}

function isAdmin(): boolean {
  return account.value?.role === "admin";
}

/** Look again and again, while somebody sees it. Return how to stop. */
function watch(ask: () => Promise<void>): () => void {
  // One at a time: each waits for a new login while the session has ended.
  let isAsking = false;
  const look = () => {
    if (isAsking) return;
    isAsking = true;
    ask().catch((error: unknown) => {
      // The screen itself says that the server does not answer; what was last known stays.
      if (!(error instanceof ApiError)) throw error;
    }).finally(() => (isAsking = false));
  };
  const first = setTimeout(look, FIRST);
  const stop = whileSeen(look, EVERY);
  return () => {
    clearTimeout(first);
    stop();
  };
}
