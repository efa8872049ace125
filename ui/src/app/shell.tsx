/** The frame of each screen: navigation beside it, or below it on narrow screens. */
import type { ComponentChildren } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { Icon } from "../parts/icons";
import { later } from "../parts/later";
import { shell } from "../texts/shell";
import { common } from "../texts/common";
import { counts } from "./counts";
import { open } from "./keys";
import { allowed, type Entry } from "./navigation";
import { go, location, segmentOf, to } from "./router";
import { account, workspace, workspaces } from "./session";

const Notices = later(() => import("./notices").then((module) => module.Notices), { isAbove: true });

const PALETTE_KEY = /Mac|iPhone|iPad/.test(navigator.platform) ? "⌘K" : "Ctrl K";

/** Return the state of the link to a screen. */
function currentAt(screen: string): "page" | undefined {
  const address = to(screen);
  const { path } = location.value;
  return path === address || (screen !== "" && path.startsWith(`${address}/`)) ? "page" : undefined;
}

export function NavigationLink({ entry }: { entry: Entry }) {
  const count = counts.value[entry.path];
  return (
    <a href={to(entry.path)} aria-current={currentAt(entry.path)}>
      <Icon name={entry.icon} />
      {entry.label}
      {count && <span class="count">{count}</span>}
    </a>
  );
}

export function WorkspaceChoice() {
  if (workspaces.value.length < 2) return null;
  return (
    <select
      aria-label={shell.workspace}
      value={workspace.value === undefined ? "" : segmentOf(workspace.value)}
      onChange={(event) => go(`/w/${event.currentTarget.value}`)}
    >
      {workspace.value === undefined && <option value="">{common.none}</option>}
      {workspaces.value.map((each) => <option key={each.id} value={segmentOf(each)}>{each.name}</option>)}
    </select>
  );
}

export function Shell({ children }: { children: ComponentChildren }) {
  // Without a workspace, their addresses would lead nowhere.
  const entries = workspace.value === undefined ? [] : allowed();
  return (
    <div class="shell">
      <a class="skip" href="#content">{shell.skip}</a>
      <nav class="side" aria-label={shell.main}>
        <div class="brand">{common.product}</div>
        <button class="find" onClick={() => (open.value = "palette")}>{shell.find}<kbd class="right">{PALETTE_KEY}</kbd></button>
        <WorkspaceChoice />
        {entries.filter(({ path }) => path !== "/account").map((entry) => <NavigationLink key={entry.path} entry={entry} />)}
        <span class="grow" />
        <a href="/docs"><Icon name="docs" />{shell.api}</a>
        <button class="item" onClick={() => (open.value = "help")}><Icon name="help" />{shell.keyboard}</button>
        {entries.length > 0 && (
          <a href={to("/account")} aria-current={currentAt("/account")} title={account.value?.email}>
            <Icon name="account" /><span class="cut">{account.value?.email}</span>
          </a>
        )}
      </nav>
      <main class="page" id="content" tabIndex={-1}><Notices />{children}</main>
      <nav class="bottom" aria-label={shell.mainNarrow}>
        {entries.filter((entry) => entry.narrow).map((entry) => <NavigationLink key={entry.path} entry={entry} />)}
        {entries.length > 0 && <button onClick={() => (open.value = "more")}><Icon name="more" />{shell.more}</button>}
      </nav>
    </div>
  );
}

/** The path whose screen has had its title read aloud, and the heading that had the focus for it. */
let readFor = location.peek().path;
let read: HTMLElement | null = null;

/** The head of a screen, which also names the tab of the browser. */
export function Head({ title, crumbs, beside, actions, children }: { title: string; crumbs?: ComponentChildren; beside?: ComponentChildren; actions?: ComponentChildren; children?: ComponentChildren }) {
  const heading = useRef<HTMLHeadingElement>(null);
  useEffect(() => {
    const { path } = location.peek();
    // The focus is lost with a heading that goes, such as when a screen has loaded: the one that takes its place gets it.
    const isLost = read?.isConnected === false && document.activeElement === document.body;
    if ((path === readFor && !isLost) || title.trim() === "") return;
    readFor = path;
    // A page that is loaded whole begins at its top, and has its title read; unless a field of the screen waits for keys.
    read = document.activeElement?.closest("main") ? null : heading.current;
    read?.focus({ preventScroll: true });
  }, [title]);
  // Tabs of the browser with one flow or one execution differ by what is shown of it.
  useEffect(() => {
    const more = heading.current!.closest(".head")!.querySelectorAll(".title > .pill, .tabs [aria-current]");
    document.title = [title, ...Array.from(more, (each) => each.textContent), common.product].join(" · ");
  });
  return (
    <header class="head">
      {crumbs && <div class="crumbs">{crumbs}</div>}
      <div class="title">
        <h1 ref={heading} tabIndex={-1} title={title}>{title}</h1>
        {beside}
        {actions && <div class="row right">{actions}</div>}
      </div>
      {children}
    </header>
  );
}
