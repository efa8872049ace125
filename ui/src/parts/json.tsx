/** JSON as a tree that opens in place; long texts and lists are cut until they are asked for. */
import { useSignal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { useMemo } from "preact/hooks";
import { expressionOf, member } from "./paths";
import { done, warn } from "./toast";
import { copyText } from "./tools";
import { visible } from "./visible";
import { common } from "../texts/common";
import { json as texts } from "../texts/json";

const LIST = 50;
const TEXT = 400;
/** Characters of what is open at first however deep it is. */
const SMALL = 600;

function Scalar({ value }: { value: unknown }) {
  const isCut = useSignal(true);
  if (typeof value === "string") {
    const shown = isCut.value && value.length > TEXT ? value.slice(0, TEXT) : value;
    return (
      <span class="j-s">
        {visible(JSON.stringify(shown))}
        {shown !== value && <button class="j-more" onClick={() => (isCut.value = false)}>{texts.moreCharacters(value.length - TEXT)}</button>}
      </span>
    );
  }
  return <span class={typeof value === "number" || typeof value === "bigint" ? "j-n" : "j-c"}>{String(JSON.stringify(value))}</span>;
}

/** A key or an element, which copies its path when it is chosen; plain text where there is no path. */
function Path({ path, look, children }: { path: string | undefined; look: string; children: ComponentChildren }) {
  if (path === undefined) return <span class={look}>{children}</span>;
  const expression = expressionOf(path);
  const copy = () => void copyText(expression).then(() => done(texts.copied(expression)), () => warn(common.notCopied));
  return <button type="button" class={`j-path ${look}`} tabIndex={-1} title={texts.copy(expression)} onClick={copy}>{children}</button>;
}

function isShort(value: unknown, most = 60): boolean {
  return JSON.stringify(value).length <= most;
}

function Value({ value, depth, path }: { value: unknown; depth: number; path: string | undefined }) {
  const most = useSignal(LIST);
  const isOpen = useSignal(useMemo(() => depth < 2 || isShort(value, SMALL), []));
  if (value === null || typeof value !== "object") return <Scalar value={value} />;
  const entries = Object.entries(value);
  const isList = Array.isArray(value);
  const [open, close] = isList ? ["[", "]"] : ["{", "}"];
  const inside = (key: string) => (path === undefined ? undefined : member(path, isList ? Number(key) : key));
  if (entries.length === 0) return <span class="j-c">{open}{close}</span>;
  if (depth > 0 && isShort(value)) return <Line value={value} path={path} />;
  if (!isOpen.value) {
    return <button class="j-more" onClick={() => (isOpen.value = true)}>{open} {texts.entries(entries.length)} {close}</button>;
  }
  return (
    <>
      <button class="j-fold" aria-label={texts.fold} onClick={() => (isOpen.value = false)}>{open}</button>
      <ul class="j-list">
        {entries.slice(0, most.value).map(([key, entry]) => (
          <li key={key}>
            {isList ? path !== undefined && <Path path={inside(key)} look="j-i">{key}</Path> : <><Path path={inside(key)} look="j-k">{JSON.stringify(key)}</Path>: </>}
            <Value value={entry} depth={depth + 1} path={inside(key)} />
          </li>
        ))}
        {entries.length > most.value && <li><button class="j-more" onClick={() => (most.value *= 10)}>{texts.moreEntries(entries.length - most.value)}</button></li>}
      </ul>
      {close}
    </>
  );
}

/** A short value on one line. */
function Line({ value, path }: { value: object; path: string | undefined }) {
  const entries = Object.entries(value);
  const isList = Array.isArray(value);
  const [open, close] = isList ? ["[", "]"] : ["{", "}"];
  return (
    <>
      {open}
      {entries.map(([key, entry], i) => {
        const own = path === undefined ? undefined : member(path, isList ? Number(key) : key);
        const shown = entry !== null && typeof entry === "object" && Object.keys(entry).length > 0 ? <Line value={entry as object} path={own} /> : <Value value={entry} depth={9} path={own} />;
        const isElement = isList && (entry === null || typeof entry !== "object");
        return (
          <span key={key}>
            {i > 0 && ", "}
            {!isList && <><Path path={own} look="j-k">{JSON.stringify(key)}</Path>: </>}
            {isElement && own !== undefined ? <Path path={own} look="">{shown}</Path> : shown}
          </span>
        );
      })}
      {close}
    </>
  );
}

/** Move the focus along the keys of a value. */
function onKeyDown(event: KeyboardEvent & { currentTarget: HTMLElement }): void {
  const by = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (by === undefined || event.altKey || event.ctrlKey || event.metaKey) return;
  const paths = [...event.currentTarget.querySelectorAll<HTMLElement>(".j-path")];
  const next = paths[paths.indexOf(document.activeElement as HTMLElement) + by];
  if (paths.length === 0) return;
  event.preventDefault();
  (next ?? event.currentTarget).focus();
}

/** Args: path: Of the value in expressions, if they can read it: each part of it can then be copied. */
export function Json({ value, label, path }: { value: unknown; label: string; path?: string | undefined }) {
  return <div class="json" role="group" aria-label={label} tabIndex={0} onKeyDown={onKeyDown}><Value value={value} depth={0} path={path} /></div>;
}
