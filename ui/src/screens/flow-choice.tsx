/** The choice of a flow: the server finds those with the text that is typed, however many there are. */
import { useSignal } from "@preact/signals";
import { useEffect, useId, useRef } from "preact/hooks";
import { api, ApiError } from "../api/client";
import { useQuery } from "../api/query";
import { workspace } from "../app/session";
import { shortId } from "../parts/format";
import { flows as texts } from "../texts/flows";

interface Props {
  /** The id of the chosen flow; empty for none. */
  value: string;
  onChange: (id: string | undefined) => void;
  id?: string;
  /** The name of the field in a form, for what the server says about it. */
  name?: string;
  label?: string;
  placeholder?: string;
  required?: boolean;
  size?: number;
}

/** The most that are shown; a longer text finds others. */
const MOST = 12;

export function FlowChoice({ value, onChange, label, ...rest }: Props) {
  /** What is typed; undefined if nothing is, and the name of the chosen flow is shown. */
  const typed = useSignal<string | undefined>(undefined);
  const isOpen = useSignal(false);
  const at = useSignal(0);
  const input = useRef<HTMLInputElement>(null);
  const list = useRef<HTMLUListElement>(null);
  const listId = useId();
  const place = workspace.value?.id;
  const chosen = useQuery(`${place} ${value}`, async (signal) => {
    if (value === "") return "";
    return api.get("/api/v1/flows/{id}", { path: { id: value }, signal }).then(({ name }) => name, (error: unknown) => {
      // It may be deleted, or be in another workspace.
      if (error instanceof ApiError && error.status === 404) return shortId(value);
      throw error;
    });
  });
  const wanted = typed.value?.trim() || undefined;
  const found = useQuery(`${place} ${isOpen.value} ${wanted}`, async (signal) =>
    isOpen.value ? (await api.get("/api/v1/flows", { query: { q: wanted, sort: "name", limit: MOST }, signal })).flows : [],
  );
  const flows = isOpen.value ? (found.data ?? []) : [];
  const current = Math.min(at.value, flows.length - 1);
  useEffect(() => {
    const popup = list.current;
    if (popup === null) return;
    // Above all else, so that nothing around it cuts it off.
    const { left, bottom, width } = input.current!.getBoundingClientRect();
    Object.assign(popup.style, { left: `${left}px`, top: `${bottom + 2}px`, minWidth: `${width}px` });
    popup.showPopover();
  }, [isOpen.value]);
  useEffect(() => list.current?.querySelector("[aria-selected=true]")?.scrollIntoView({ block: "nearest" }), [current]);
  function close(): void {
    isOpen.value = false;
    typed.value = undefined;
  }
  function choose(flow: { id: string } | undefined): void {
    close();
    if (flow?.id !== (value || undefined)) onChange(flow?.id);
  }
  function onKeyDown(event: KeyboardEvent): void {
    if (event.key === "ArrowDown" && !isOpen.value) isOpen.value = true;
    else if (event.key === "ArrowDown") at.value = Math.min(current + 1, flows.length - 1);
    else if (event.key === "ArrowUp" && isOpen.value) at.value = Math.max(current - 1, 0);
    else if (event.key === "Enter" && isOpen.value) choose(typed.value === "" ? undefined : flows[current]);
    else if (event.key === "Escape" && isOpen.value) close();
    else return;
    event.preventDefault();
    event.stopPropagation();
  }
  return (
    <>
      <input
        ref={input} type="text" role="combobox" autocomplete="off" spellcheck={false} maxLength={200} aria-label={label}
        aria-expanded={isOpen.value} aria-controls={isOpen.value ? listId : undefined} aria-activedescendant={flows.length > 0 ? `${listId}-${current}` : undefined} {...rest}
        value={typed.value ?? chosen.data ?? ""}
        onClick={(event) => { event.currentTarget.select(); isOpen.value = true; }}
        onInput={(event) => { typed.value = event.currentTarget.value; at.value = 0; isOpen.value = true; }}
        onKeyDown={onKeyDown} onBlur={() => (typed.value === "" ? choose(undefined) : close())}
      />
      {isOpen.value && (
        <ul ref={list} id={listId} class="choices" role="listbox" aria-label={texts.title} popover="manual" onMouseDown={(event) => event.preventDefault()}>
          {flows.map((flow, i) => (
            <li key={flow.id} id={`${listId}-${i}`} role="option" aria-selected={i === current} title={flow.name} onClick={() => choose(flow)}><span class="cut">{flow.name}</span></li>
          ))}
          {!found.loading && flows.length === 0 && <li role="option" aria-selected="false" aria-disabled="true" class="muted">{found.error?.message ?? texts.noMatch}</li>}
        </ul>
      )}
    </>
  );
}
