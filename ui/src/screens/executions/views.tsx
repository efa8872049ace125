/** Saved views of the executions, and the columns that are shown. */
import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { loadPreferences, preferences, prefer, type View } from "../../app/preferences";
import { location, to } from "../../app/router";
import { Dialog, useQuestion } from "../../parts/dialog";
import { Field } from "../../parts/form";
import { done } from "../../parts/toast";
import { useAction } from "../../parts/tools";
import { common } from "../../texts/common";
import { executionList as ofList } from "../../texts/execution-list";
import { executions as texts } from "../../texts/executions";

export const COLUMNS = ["where", "labels", "startedBy", "log", "started", "took"] as const;
export type Column = (typeof COLUMNS)[number];

/** True if the reader has not hidden the column. */
export function isShown(column: Column): boolean {
  return !(preferences.value.hidden ?? []).includes(column);
}

/** The saved views as links; the one that is open can be deleted. */
export function Views() {
  // A failure is told when something is changed.
  useEffect(() => void loadPreferences().catch(() => undefined), []);
  const { ask, question } = useQuestion();
  const views = preferences.value.views ?? [];
  const remove = ({ name }: View) => ask({
    title: ofList.deleteViewTitle(name), action: ofList.deleteViewIt, hint: ofList.deleteViewHint,
    run: () => prefer(({ views: present = [] }) => ({ views: present.filter((view) => view.name !== name) })),
  });
  if (views.length === 0) return null;
  const current = location.value.query.toString();
  return (
    <nav class="filters" aria-label={ofList.views}>
      {views.map((view) => (
        <span key={view.name} class="row tight">
          <a class="chip" href={`${to("/executions")}?${view.query}`} aria-current={view.query === current ? "page" : undefined}>{view.name}</a>
          {view.query === current && <button class="btn quiet small" onClick={() => remove(view)}>{ofList.deleteView(view.name)}</button>}
        </span>
      ))}
      {question}
    </nav>
  );
}

export function ViewDialog({ onClose }: { onClose: () => void }) {
  const action = useAction();
  const hasFilters = location.value.query.toString() !== "";
  const name = useSignal("");
  function toggle(column: Column): void {
    const hides = isShown(column);
    action.run(() => prefer(({ hidden = [] }) => ({ hidden: [...hidden.filter((each) => each !== column), ...(hides ? [column] : [])] })));
  }
  function save(event: Event): void {
    event.preventDefault();
    const query = new URLSearchParams(location.peek().query);
    query.delete("cursor");
    action.run(async () => {
      const saved = { name: name.value.trim(), query: query.toString() };
      await prefer(({ views = [] }) => ({ views: [...views.filter((view) => view.name !== saved.name), saved] }));
      done(ofList.viewSaved(saved.name));
      onClose();
    });
  }
  return (
    <Dialog title={ofList.view} onClose={onClose}>
      <fieldset class="plain stack tight">
        <legend class="label">{ofList.columns}</legend>
        {COLUMNS.map((column) => <label key={column} class="check"><input type="checkbox" checked={isShown(column)} onChange={() => toggle(column)} />{({ ...texts, ...ofList })[column]}</label>)}
      </fieldset>
      {hasFilters && (
        <form class="stack tight" onSubmit={save}>
          <Field label={ofList.viewName} hint={ofList.viewHint}>{(id, note) => <input id={id} aria-describedby={note} required maxLength={60} value={name.value} onInput={(event) => (name.value = event.currentTarget.value)} />}</Field>
          <div class="row"><button class="btn primary right" disabled={action.busy}>{ofList.saveView}</button></div>
        </form>
      )}
      {!hasFilters && <p class="muted small">{ofList.viewNeedsFilters}</p>}
      <div class="row"><button class="btn right" onClick={onClose}>{common.close}</button></div>
    </Dialog>
  );
}
