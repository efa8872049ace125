/** The palette, which leads to everything, the list of keys, and the rest of the navigation on narrow screens. Loaded when one of them is opened. */
import { useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { api, ApiError } from "../api/client";
import { useQuery } from "../api/query";
import { Dialog } from "../parts/dialog";
import { Icon, type IconName } from "../parts/icons";
import { visible } from "../parts/visible";
import { readTerm } from "../forms/labels";
import { keys as texts } from "../texts/keys";
import { shell } from "../texts/shell";
import { open } from "./keys";
import { allowed } from "./navigation";
import { go, to } from "./router";
import { logOut, may, workspace } from "./session";
import { NavigationLink, WorkspaceChoice } from "./shell";
import { setSingleKeys, singleKeys } from "./single-keys";
import { setTheme, type Theme } from "./theme";

interface Choice {
  label: string;
  kind: string;
  icon: IconName;
  run: () => void;
}

const MOST = 12;
/** Triggers, callbacks and secrets that are looked through, and those of each that are shown. */
const LOOKED_THROUGH = 200;
const SHOWN = 6;

/** Return the list, or an empty one: what a reader may not see, or what cannot be had now, is no reason to find nothing else. */
async function orNone<T>(list: Promise<T[]>): Promise<T[]> {
  try {
    return await list;
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    return [];
  }
}

/** Return the triggers, callbacks, and names of secrets, configuration values and entries of the store of the workspace. */
async function loadNamed(id: string, signal: AbortSignal): Promise<Choice[][]> {
  const query = { limit: LOOKED_THROUGH };
  return await Promise.all([
    orNone(api.get("/api/v1/triggers", { query, signal }).then(({ triggers }) => triggers.map((each): Choice => ({ label: `${each.name} · ${each.flow_name}`, kind: texts.trigger, icon: "triggers", run: () => go(to("/triggers", { trigger: each.id })) })))),
    orNone(api.get("/api/v1/callbacks", { query, signal }).then(({ callbacks }) => callbacks.map((each): Choice => ({ label: each.name, kind: texts.callback, icon: "callbacks", run: () => go(to("/callbacks", { callback: each.id })) })))),
    orNone(api.get("/api/v1/config", { query, signal }).then(({ config }) => config.map(({ name }): Choice => ({ label: name, kind: texts.configValue, icon: "config", run: () => go(to("/config")) })))),
    orNone(api.get("/api/v1/store", { query, signal }).then(({ entries }) => entries.map(({ namespace, key }): Choice => ({ label: visible(key), kind: texts.storeEntry, icon: "store", run: () => go(to("/store", { of: namespace, key })) })))),
    orNone(api.get("/api/v1/workspaces/{id}/secrets", { path: { id }, query, signal }).then(({ secrets }) => secrets.map(({ key }): Choice => ({ label: key, kind: texts.secret, icon: "secrets", run: () => go(to("/secrets")) })))),
  ]);
}

export function Palette({ onClose }: { onClose: () => void }) {
  const text = useSignal("");
  const at = useSignal(0);
  const list = useRef<HTMLUListElement>(null);
  // The server finds flows: there may be more than a page can hold.
  const wanted = text.value.trim();
  const place = workspace.value?.id ?? "";
  const found = useQuery(`${place} ${wanted}`, async (signal) => ({ wanted, ...(await api.get("/api/v1/flows", { query: { q: wanted || undefined, limit: MOST }, signal })) }));
  const named = useQuery(`${place} ${wanted !== ""}`, async (signal) => (wanted === "" ? [] : loadNamed(place, signal)));
  // Until the answer to this text is there, what is shown of another one must fit it.
  const flows = (found.data?.flows ?? []).filter(({ name }) => found.data?.wanted === wanted || has(wanted, name));
  const choices = matching(text.value, [
    ...allowed().map((entry) => ({ label: entry.label, kind: texts.go, icon: entry.icon, run: () => go(to(entry.path)) })),
    ...(may("editor") ? [{ label: texts.newFlow, kind: "", icon: "plus" as const, run: () => go(to("/flows/new")) }] : []),
    ...(["auto", "light", "dark"] as Theme[]).map((theme) => ({ label: texts.themes[theme]!, kind: "", icon: "account" as const, run: () => setTheme(theme) })),
    { label: texts.api, kind: texts.go, icon: "docs", run: () => window.location.assign("/docs") },
    { label: texts.help, kind: "?", icon: "help", run: () => (open.value = "help") },
    { label: texts.logOut, kind: "", icon: "account", run: () => logOut() },
  ], [
    ...flows.map(({ id, name }): Choice => ({ label: name, kind: texts.flow, icon: "flows", run: () => go(to(`/flows/${id}`)) })),
    ...(wanted === "" ? [] : (named.data ?? []).flatMap((list) => list.filter(({ label, kind }) => has(wanted, `${label} ${kind}`)).slice(0, SHOWN))),
  ]);
  const chosen = Math.min(at.value, choices.length - 1);
  useEffect(() => list.current?.querySelector("[aria-selected=true]")?.scrollIntoView({ block: "nearest" }), [chosen]);
  function run(choice: Choice | undefined): void {
    if (choice === undefined) return;
    onClose();
    choice.run();
  }
  function onKeyDown(event: KeyboardEvent): void {
    if (event.key === "ArrowDown") at.value = Math.min(chosen + 1, choices.length - 1);
    else if (event.key === "ArrowUp") at.value = Math.max(chosen - 1, 0);
    else if (event.key === "Enter") run(choices[chosen]);
    else return;
    event.preventDefault();
  }
  return (
    <Dialog title={texts.find} onClose={onClose}>
      <input
        autofocus type="text" role="combobox" aria-expanded="true" aria-controls="palette" aria-label={texts.placeholder} aria-activedescendant={choices.length > 0 ? `palette-${chosen}` : undefined}
        placeholder={texts.placeholder} value={text.value} onInput={(event) => { text.value = event.currentTarget.value; at.value = 0; }} onKeyDown={onKeyDown}
      />
      <ul id="palette" class="palette" role="listbox" aria-label={texts.results} ref={list}>
        {choices.map((choice, i) => (
          <li key={`${choice.kind} ${choice.label} ${i}`} id={`palette-${i}`} role="option" aria-selected={i === chosen} onClick={() => run(choice)}>
            <Icon name={choice.icon} /><span class="cut">{choice.label}</span><span class="muted small right nowrap">{choice.kind}</span>
          </li>
        ))}
      </ul>
      {choices.length === 0 && <p class="muted" role="status">{found.loading || named.loading ? texts.searching : found.error?.message ?? texts.nothing}</p>}
    </Dialog>
  );
}

/** Return true if the text has all words of what is wanted. */
function has(wanted: string, text: string): boolean {
  return wanted.toLowerCase().split(/\s+/).every((word) => text.toLowerCase().includes(word));
}

/** The choices with all words of the text, those that begin with it first, then what was found; an id leads to its execution, and an input or a label to a list. */
function matching(text: string, choices: Choice[], others: Choice[]): Choice[] {
  const wanted = text.trim().toLowerCase();
  if (/^exec-\w+$/.test(wanted)) return [{ label: wanted, kind: texts.execution, icon: "executions", run: () => go(to(`/executions/${wanted}`)) }];
  const found = choices.filter(({ label, kind }) => has(wanted, `${label} ${kind}`));
  const rank = ({ label }: Choice) => (label.toLowerCase().startsWith(wanted) ? 0 : 1);
  const term = readTerm(text);
  const listed: Choice[] = term === undefined ? [] : [{ label: text.trim(), kind: texts.executions, icon: "executions", run: () => go(to("/executions", { [term[0]]: term[1] })) }];
  return [...found.sort((a, b) => rank(a) - rank(b)), ...listed, ...others].slice(0, MOST + others.length);
}

function SingleKeys() {
  return <label class="check"><input type="checkbox" checked={singleKeys.value} onChange={(event) => setSingleKeys(event.currentTarget.checked)} />{texts.singleKeys}</label>;
}

export function Help({ onClose }: { onClose: () => void }) {
  return (
    <Dialog title={texts.helpTitle} onClose={onClose}>
      <dl class="facts-list">
        {texts.shortcuts.map(([key, what]) => [<dt key={key}><kbd>{key}</kbd></dt>, <dd key={what}>{what}</dd>])}
      </dl>
      <SingleKeys />
    </Dialog>
  );
}

/** What the bar at the bottom of narrow screens has no room for. */
export function More({ onClose }: { onClose: () => void }) {
  return (
    <Dialog title={shell.more} onClose={onClose}>
      <button class="btn" onClick={() => (open.value = "palette")}>{shell.find}</button>
      <WorkspaceChoice />
      <nav class="side-list" aria-label={shell.more} onClick={onClose}>
        {allowed().filter((entry) => !entry.narrow).map((entry) => <NavigationLink key={entry.path} entry={entry} />)}
      </nav>
    </Dialog>
  );
}
