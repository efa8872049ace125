/** The screen of the address, within the shell, and what stands above every screen. */
import { Component, type ComponentChildren, type ComponentType } from "preact";
import { useEffect } from "preact/hooks";
import { api } from "../api/client";
import { Empty, Skeleton } from "../parts/parts";
import { later, type Frame } from "../parts/later";
import { Toasts } from "../parts/toast";
import { common } from "../texts/common";
import { KeyDialogs, listenToKeys } from "./keys";
import { NotFound } from "./not-found";
import { allowed } from "./navigation";
import { go, homeOf, location, match, segmentOf, slug, to, withQuery, type Parameters, type Route } from "./router";
import { routes } from "./routes";
import { account, askedFor, followTabs, keepSession, mustEnrol, rememberPlace, unsaved, workspace, workspaces } from "./session";
import { Head, Shell } from "./shell";
import { store } from "./stored";

function find(path: string): { route: Route; parameters: Parameters } | undefined {
  for (const route of routes) {
    const parameters = match(`/w/:slug${route.path}`, path);
    if (parameters !== undefined) return { route, parameters };
  }
  return undefined;
}

/** Load the code of a screen beside the first requests. */
export function preload(path: string): void {
  find(path)?.route.load().catch(() => {});
}

/** Shows that a screen has failed, instead of an empty page; another address tries again. */
class Guarded extends Component<{ children: ComponentChildren }, { failed: boolean }> {
  override state = { failed: false };
  static override getDerivedStateFromError() {
    return { failed: true };
  }
  override componentDidCatch(error: unknown) {
    console.error(error);
  }
  override render() {
    if (!this.state.failed) return this.props.children;
    return (
      <Empty title={common.broken}>
        <p>{common.brokenHint}</p>
        <button class="btn" onClick={() => window.location.reload()}>{common.reload}</button>
      </Empty>
    );
  }
}

const ScreenFrame: Frame = ({ failure }) => {
  const { path } = location.value;
  return <><Head title={(failure && allowed().findLast((entry) => path.startsWith(to(entry.path)))?.label) || " "} /><div class="content">{failure || <Skeleton rows={8} />}</div></>;
};

const screens = new Map(routes.map((route) => [route, later<{ parameters: Parameters }>(() => {
  window.preload(window.location);
  return route.load().then((module) => module.default);
}, { frame: ScreenFrame })]));

function Screen() {
  const found = find(location.value.path);
  if (found === undefined || workspace.value === undefined) return <NotFound />;
  const Found = screens.get(found.route)!;
  return <Found parameters={found.parameters} />;
}

const ExpiredDialog = later(() => import("./login").then((module) => module.ExpiredDialog), { isAbove: true });
const LeavingDialog = later(() => import("./login").then((module) => module.LeavingDialog), { isAbove: true });

const PageFrame: Frame = ({ failure }) => <main class="alone loading">{failure || <p class="brand">{common.product}</p>}</main>;
const page = (load: () => Promise<{ default: ComponentType }>) => later(() => load().then((module) => module.default), { frame: PageFrame });

/** The page of a login without a required second factor. */
const Enrolment = page(() => import("./enrol"));

/** The login and the pages of links, for people who need not be logged in. */
const openPages: Record<string, ComponentType> = {
  "/login": page(() => import("./login")),
  "/setup": page(() => import("./setup")),
  "/invitation": page(() => import("./invitation")),
  "/new-password": page(() => import("./passwords")),
  "/confirm-email": page(() => import("./confirm")),
};

/** The page outside of the workspaces for people who are logged in. */
const CommandLogin = page(() => import("./command-login"));

/**
 * Go on to an address in the workspace that was open last in this browser, if it is still the account's. In another browser it is
 * the personal one, or that of colleagues if the personal one has no flow.
 */
async function goHome(from: string, address = ""): Promise<void> {
  const last = localStorage.getItem("flowrunner.workspace");
  const [personal, shared] = workspaces.value;
  const found =
    workspaces.value.find((each) => segmentOf(each) === last) ??
    // What cannot be read is not empty.
    ((shared && (await api.get("/api/v1/flows", { query: { limit: 1 } }).then(({ flows }) => flows.length, () => 1)) === 0 && shared) || personal!);
  // The reader may have gone elsewhere meanwhile.
  if (location.peek().path === from) go(homeOf(found) + address, { replace: true });
}

export function App() {
  const { path, query } = location.value;
  const isOutside = path in openPages;
  useEffect(() => {
    if (isOutside || mustEnrol.value) return;
    if (account.value === undefined) go(withQuery("/login", { next: path === "/" ? undefined : withQuery(path, Object.fromEntries(query)) }), { replace: true });
    else if (path === "/" || path === "/w") void goHome(path);
    // An address without a workspace, such as /approvals.
    else if (!path.startsWith("/w/") && path !== "/command-login") void goHome(path, withQuery(path, Object.fromEntries(query)));
    else if (workspace.value !== undefined) {
      const segment = segmentOf(workspace.value);
      store("flowrunner.workspace", segment);
      rememberPlace(workspace.value, segment);
      // An older slug, or the whole id.
      if (slug.value !== segment) go(withQuery(path.replace(/^\/w\/[^/]*/, homeOf(workspace.value)), Object.fromEntries(query)), { replace: true });
    }
  }, [path, mustEnrol.value]);
  useEffect(listenToKeys, []);
  useEffect(keepSession, []);
  useEffect(followTabs, []);
  if (mustEnrol.value) return <Enrolment />;
  const OpenPage = openPages[path];
  if (OpenPage !== undefined) return <OpenPage key={path} />;
  if (account.value === undefined) return null;
  if (path === "/command-login") return <><CommandLogin />{askedFor.value !== undefined && <ExpiredDialog />}</>;
  // Another address follows.
  if (!path.startsWith("/w/")) return null;
  return (
    <>
      <Shell><Guarded key={path}><Screen /></Guarded></Shell>
      <Toasts />
      <KeyDialogs />
      {askedFor.value !== undefined && <ExpiredDialog />}
      {unsaved.value !== undefined && <LeavingDialog />}
    </>
  );
}
