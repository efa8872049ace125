/** The login of the browser: who is logged in, in which workspaces, and a new login when the session has ended. */
import { computed, effect, signal } from "@preact/signals";
import { api, ApiError, onExpired, workspaceHeader, type Schemas } from "../api/client";
import { drafts, keepers } from "./drafts";
import { failed } from "../parts/toast";
import { shell } from "../texts/shell";
import { segmentOf, slug } from "./router";
import { store } from "./stored";

export type Workspace = Schemas["WorkspaceAnswer"];

export const account = signal<Schemas["AccountAnswer"] | undefined>(undefined);
export const workspaces = signal<Workspace[]>([]);
/** The workspace of the address; undefined if the address names none that the account reaches. */
export const workspace = computed(() => workspaces.value.find((each) => [segmentOf(each), each.slug, each.id].includes(slug.value ?? "")));
/** Return true if the workspace is the personal one of an account, whose slug is its id. */
export const isPersonal = ({ id, slug: name }: Workspace): boolean => name === id;
/** Return true if it is the personal one of the reader. */
export const isOwnAccount = ({ id }: Workspace): boolean => id === account.value?.id;
/** The slug that a command must name to act in the workspace; undefined for the personal one, where commands act anyway. */
export const namedWorkspace = computed(() => (workspace.value?.id === account.value?.id ? undefined : workspace.value?.slug));
/**
 * Why a login is asked for over the screen: the session has ended, or is too old for what was asked; another tab has logged
 * out, or has logged another account in.
 */
export type Reason = "expired" | "recent" | "left" | "other";
export const askedFor = signal<Reason | undefined>(undefined);
/** True if the installation requires a second factor, and the login has shown none. */
export const mustEnrol = signal(false);

const RANKS = ["viewer", "operator", "editor", "admin"] as const;

/** Return true if the account has at least this role in the workspace. */
export function may(role: (typeof RANKS)[number]): boolean {
  const own = workspace.value?.role;
  if (own === undefined || (account.value?.role === "viewer" && role !== "viewer")) return false;
  return RANKS.indexOf(own) >= RANKS.indexOf(role);
}

let waiting: { promise: Promise<void>; resolve: () => void; reject: () => void } | undefined;

/** Ask for a login. The promise rejects if the reader does not want to log in again, which an ended session does not allow. */
function askForLogin(why: Reason): Promise<void> {
  if (waiting === undefined) {
    let [resolve, reject] = [() => {}, () => {}];
    const promise = new Promise<void>((done, failed) => ([resolve, reject] = [done, failed]));
    waiting = { promise, resolve, reject };
  }
  // What another tab has done says more than that the session has ended.
  if (why === "left" || why === "other" || askedFor.peek() === undefined || askedFor.peek() === "recent") askedFor.value = why;
  return waiting.promise;
}

/** The number of logins that what waited for one has gone on with. */
let logins = 0;

/** Go on with what waits for a login. */
function goOn(): void {
  logins += 1;
  askedFor.value = undefined;
  waiting?.resolve();
  waiting = undefined;
}

type News = { event: "in" | "ended"; account: string } | { event: "out"; account: string; forgets: boolean };

/** The other tabs of this browser, which have the same cookie. */
const tabs = typeof window === "undefined" ? undefined : new BroadcastChannel("flowrunner.session");

function tell(news: News): void {
  tabs?.postMessage(news);
}

/** Follow what other tabs do with the session; what is typed here stays. Return how to stop. */
export function followTabs(): () => void {
  function hear({ data: news }: MessageEvent<News>): void {
    const own = account.peek()?.id;
    if (own === undefined) return;
    // Nobody waits for the promise; the requests of this page do.
    const ask = (why: Reason) => void askForLogin(why).catch(() => {});
    if (news.event === "ended") ask("expired");
    else if (news.event === "out" && news.forgets && news.account === own) {
      drafts.forgetAll(`${own}.`);
      leaveFor("/login");
    } else if (news.event === "out") ask("left");
    else if (news.account !== own) ask("other");
    else if (askedFor.peek() !== "recent") goOn();
  }
  tabs?.addEventListener("message", hear);
  return () => tabs?.removeEventListener("message", hear);
}

/** Do not log in again: what needed a recent login is not done. */
export function cancelLogIn(): void {
  askedFor.value = undefined;
  waiting?.reject();
  waiting = undefined;
}

effect(() => {
  workspaceHeader.value = workspace.value?.id;
});

/** What `start.js` reads: the segment and the id of the workspace that was open last, and the id of the account. */
const START = "flowrunner.start";

/** Keep the place for the next start, whose first requests then need not wait for each other. */
export function rememberPlace({ id }: Workspace, segment: string): void {
  store(START, `${segment} ${id} ${account.peek()?.id}`);
}

/** Return the account that was logged in last, if its session goes on. */
async function lastAccount(): Promise<Schemas["AccountAnswer"] | undefined> {
  const id = localStorage.getItem(START)?.split(" ")[2];
  return id === undefined ? undefined : api.get("/api/v1/accounts/{id}", { path: { id } }).catch(() => undefined);
}

/** Load who is logged in. Return false if nobody is. */
export async function open(): Promise<boolean> {
  try {
    const [all, last] = await Promise.all([api.get("/api/v1/workspaces", { query: { limit: 1000 } }), lastAccount()]);
    // The personal workspace comes first and has the id of the account.
    const own = all.workspaces[0];
    if (own === undefined) return false;
    account.value = last?.id === own.id ? last : await api.get("/api/v1/accounts/{id}", { path: { id: own.id } });
    workspaces.value = all.workspaces;
    onExpired({ again: expire, pending: () => (askedFor.peek() === "recent" ? undefined : waiting?.promise), count: () => logins });
    tell({ event: "in", account: own.id });
    mustEnrol.value = false;
    return true;
  } catch (error) {
    localStorage.removeItem(START);
    if (error instanceof ApiError && error.code === "second_factor_missing") mustEnrol.value = true;
    else if (!(error instanceof ApiError && error.status === 401)) throw error;
    return false;
  }
}

function expire(): Promise<void> {
  if (askedFor.peek() !== "expired") tell({ event: "ended", account: account.peek()?.id ?? "" });
  return askForLogin("expired");
}

/** Load again who is logged in, after the workspace of the address is left or deleted: no request may name it. */
export async function openElsewhere(): Promise<void> {
  workspaceHeader.value = undefined;
  await open();
}

/** Send a request that needs a recent login, after another login if it is told so. */
export async function withRecentLogin<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof ApiError && error.code === "recent_login_required")) throw error;
    await askForLogin("recent").catch(() => Promise.reject(error));
    return await work();
  }
}

/** The second step that a right password asks for; undefined if the error is another one. */
export function secondStepOf(error: unknown): Schemas["SecondStepNeeded"] | undefined {
  return error instanceof ApiError && error.code === "second_factor_required" ? error.details.second_factor : undefined;
}

/** Log in. Requests that wait for a new login continue, and what is on the screen stays. Raises: ApiError: In words for people. */
export async function logIn(username: string, password: string): Promise<void> {
  enter(await api.post("/api/v1/auth/login", { body: { username, password, cookie: true } }).catch((error: unknown) => {
    const isWrong = error instanceof ApiError && error.status === 401 && secondStepOf(error) === undefined;
    throw isWrong ? new ApiError(401, error.code, shell.wrongLogin) : error;
  }));
}

/** Finish a login with a code, a recovery code or a passkey. */
export async function finishLogIn(answer: Omit<Schemas["SecondStep"], "cookie">): Promise<void> {
  enter(await api.post("/api/v1/auth/second-factor", { body: { ...answer, cookie: true } }));
}

function enter({ account_id: id }: Schemas["TokenAnswer"]): void {
  if (account.peek() !== undefined && account.peek()?.id !== id) {
    // Another account: nothing of the first one's screens may remain. Its own page tells the other tabs.
    leaveFor("/");
    return;
  }
  tell({ event: "in", account: id });
  goOn();
}

/** The number of unsaved texts of the account in this browser, while it is asked what becomes of them. */
export const unsaved = signal<number | undefined>(undefined);

/** Log out; if there are unsaved texts in this browser, ask first what becomes of them. */
export function logOut(): void {
  for (const keep of keepers) keep();
  const { length } = account.peek() === undefined ? [] : drafts.keys(`${account.peek()!.id}.`);
  if (length > 0) unsaved.value = length;
  else leave(false);
}

/** Log out. Args: forgets: Unsaved texts are deleted from this browser. */
export function leave(forgets: boolean): void {
  leaveNow(forgets).catch(failed);
}

async function leaveNow(forgets: boolean): Promise<void> {
  await api.post("/api/v1/auth/logout");
  tell({ event: "out", account: account.peek()?.id ?? "", forgets });
  localStorage.removeItem(START);
  if (forgets) drafts.forgetAll(`${account.peek()?.id}.`);
  leaveFor("/login");
}

/** The account of the page has left, and was asked about unsaved texts if there are some: the browser need not ask, too. */
export let hasLeft = false;

function leaveFor(address: string): void {
  hasLeft = true;
  window.location.assign(address);
}

/** Milliseconds between renewals of the session, which lasts a day unless the operator has changed it. */
const RENEWAL = 20 * 60_000;

/** Renew the session while the page is open, in one tab at a time. Return how to stop. */
export function keepSession(): () => void {
  async function renew(): Promise<void> {
    const last = Number(localStorage.getItem("flowrunner.renewed") ?? 0);
    if (Date.now() - last < RENEWAL) return;
    store("flowrunner.renewed", String(Date.now()));
    await api.post("/api/v1/auth/refresh").catch(() => undefined);
  }
  const timer = setInterval(() => {
    if (account.peek() === undefined || askedFor.peek() !== undefined) return;
    // Two tabs have one cookie, and a token that is renewed twice ends the session. Over plain HTTP there are no locks.
    void (navigator.locks?.request("flowrunner.session", renew) ?? renew());
  }, RENEWAL / 4);
  return () => clearInterval(timer);
}

/** Return whether the installation has an account, and whether it sends links to set a new password. */
export async function setUpState(): Promise<Schemas["SetupState"]> {
  return await api.get("/api/v1/setup");
}
