/** The login of the browser: who is logged in, in which workspaces, and a new login when the session has ended. */
import { computed, effect, signal } from "@preact/signals";
import { api, ApiError, onExpired, workspaceHeader, type Schemas } from "../api/client";
import { slug } from "./router";

export type Workspace = Schemas["WorkspaceAnswer"];

export const account = signal<Schemas["AccountAnswer"] | undefined>(undefined);
export const workspaces = signal<Workspace[]>([]);
/** The workspace of the address; undefined if the address names none that the account reaches. */
export const workspace = computed(() => workspaces.value.find(({ slug: name, id }) => name === slug.value || id === slug.value));
/** True while a login is asked for over the screen, because the session has ended. */
export const expired = signal(false);

const RANKS = ["viewer", "operator", "editor", "admin"] as const;

/** Return true if the account has at least this role in the workspace. */
export function may(role: (typeof RANKS)[number]): boolean {
  const own = workspace.value?.role;
  if (own === undefined || (account.value?.role === "viewer" && role !== "viewer")) return false;
  return RANKS.indexOf(own) >= RANKS.indexOf(role);
}

let waiting: { promise: Promise<void>; resolve: () => void } | undefined;

function askForLogin(): Promise<void> {
  if (waiting === undefined) {
    let resolve = () => {};
    const promise = new Promise<void>((done) => (resolve = done));
    waiting = { promise, resolve };
  }
  expired.value = true;
  return waiting.promise;
}

effect(() => {
  workspaceHeader.value = workspace.value?.id;
});

/** Load who is logged in. Return false if nobody is. */
export async function open(): Promise<boolean> {
  try {
    const all = await api.get("/api/v1/workspaces", { query: { limit: 1000 } });
    // The personal workspace comes first and has the id of the account.
    const own = all.workspaces[0];
    if (own === undefined) return false;
    account.value = await api.get("/api/v1/accounts/{id}", { path: { id: own.id } });
    workspaces.value = all.workspaces;
    onExpired(askForLogin);
    return true;
  } catch (error) {
    if (error instanceof ApiError && error.status === 401) return false;
    throw error;
  }
}

/** Log in. Requests that wait for a new login continue, and what is on the screen stays. */
export async function logIn(username: string, password: string): Promise<void> {
  const { account_id: id } = await api.post("/api/v1/auth/login", { body: { username, password, cookie: true } });
  if (account.peek() !== undefined && account.peek()?.id !== id) {
    // Another account: nothing of the first one's screens may remain.
    window.location.assign("/");
    return;
  }
  expired.value = false;
  waiting?.resolve();
  waiting = undefined;
}

export async function logOut(): Promise<void> {
  await api.post("/api/v1/auth/logout");
  window.location.assign("/login");
}

/** Milliseconds between renewals of the session, which lasts a day unless the operator has changed it. */
const RENEWAL = 20 * 60_000;

/** Renew the session while the page is open, in one tab at a time. Return how to stop. */
export function keepSession(): () => void {
  const timer = setInterval(() => {
    if (account.peek() === undefined || expired.peek()) return;
    // Two tabs have one cookie, and a token that is renewed twice ends the session.
    void navigator.locks?.request("flowrunner.session", async () => {
      const last = Number(localStorage.getItem("flowrunner.renewed") ?? 0);
      if (Date.now() - last < RENEWAL) return;
      localStorage.setItem("flowrunner.renewed", String(Date.now()));
      await api.post("/api/v1/auth/refresh").catch(() => undefined);
    });
  }, RENEWAL / 4);
  return () => clearInterval(timer);
}

/** Return false as long as the installation has no account. */
export async function isSetUp(): Promise<boolean> {
  return (await api.get("/api/v1/setup")).is_set_up;
}
