/** The palette, which leads to everything, and the list of keys. Loaded when one of them is opened. */
import { useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { api } from "../api/client";
import { useQuery } from "../api/query";
import { Dialog } from "../parts/dialog";
import { Icon, type IconName } from "../parts/icons";
import { keys as texts } from "../texts/keys";
import { open } from "./keys";
import { allowed } from "./navigation";
import { go, to } from "./router";
import { logOut, may, workspace } from "./session";
import { setTheme, type Theme } from "./theme";

interface Choice {
  label: string;
  kind: string;
  icon: IconName;
  run: () => void;
}

const MOST = 12;

export function Palette({ onClose }: { onClose: () => void }) {
  const text = useSignal("");
  const at = useSignal(0);
  const list = useRef<HTMLUListElement>(null);
  // The server finds flows: there may be more than a page can hold.
  const wanted = text.value.trim();
  const flows = useQuery(`${workspace.value?.id} ${wanted}`, (signal) => api.get("/api/v1/flows", { query: { q: wanted || undefined, limit: MOST }, signal }));
  const choices = matching(text.value, [
    ...allowed().map((entry) => ({ label: entry.label, kind: texts.go, icon: entry.icon, run: () => go(to(entry.path)) })),
    ...(may("editor") ? [{ label: texts.newFlow, kind: "", icon: "plus" as const, run: () => go(to("/flows/new")) }] : []),
    ...(["auto", "light", "dark"] as Theme[]).map((theme) => ({ label: texts.themes[theme]!, kind: "", icon: "account" as const, run: () => setTheme(theme) })),
    { label: texts.api, kind: texts.go, icon: "docs", run: () => window.location.assign("/docs") },
    { label: texts.help, kind: "?", icon: "help", run: () => (open.value = "help") },
    { label: texts.logOut, kind: "", icon: "account", run: () => logOut() },
  ], (flows.data?.flows ?? []).map(({ id, name }) => ({ label: name, kind: texts.flow, icon: "flows", run: () => go(to(`/flows/${id}`)) })));
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
      {choices.length === 0 && <p class="muted">{texts.nothing}</p>}
    </Dialog>
  );
}

/** The choices with all words of the text, those that begin with it first, then the flows; an id leads to its execution. */
function matching(text: string, choices: Choice[], flows: Choice[]): Choice[] {
  const wanted = text.trim().toLowerCase();
  if (/^exec-\w+$/.test(wanted)) return [{ label: wanted, kind: texts.execution, icon: "executions", run: () => go(to(`/executions/${wanted}`)) }];
  const words = wanted.split(/\s+/);
  const found = choices.filter(({ label, kind }) => words.every((word) => `${label} ${kind}`.toLowerCase().includes(word)));
  const rank = ({ label }: Choice) => (label.toLowerCase().startsWith(wanted) ? 0 : 1);
  return [...found.sort((a, b) => rank(a) - rank(b)), ...flows].slice(0, MOST + flows.length);
}

export function Help({ onClose }: { onClose: () => void }) {
  return (
    <Dialog title={texts.helpTitle} onClose={onClose}>
      <dl class="facts-list">
        {texts.shortcuts.map(([key, what]) => [<dt key={key}><kbd>{key}</kbd></dt>, <dd key={what}>{what}</dd>])}
      </dl>
    </Dialog>
  );
}
