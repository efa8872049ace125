/** JSON as a tree that opens in place; long texts and lists are cut until they are asked for. */
import { useSignal } from "@preact/signals";
import { visible } from "./visible";
import { json as texts } from "../texts/json";

const LIST = 50;
const TEXT = 400;

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
  return <span class={typeof value === "number" ? "j-n" : "j-c"}>{String(JSON.stringify(value))}</span>;
}

function isShort(value: unknown): boolean {
  return JSON.stringify(value).length <= 60;
}

function Value({ value, depth }: { value: unknown; depth: number }) {
  const most = useSignal(LIST);
  const isOpen = useSignal(depth < 2);
  if (value === null || typeof value !== "object") return <Scalar value={value} />;
  const entries = Object.entries(value);
  const [open, close] = Array.isArray(value) ? ["[", "]"] : ["{", "}"];
  if (entries.length === 0) return <span class="j-c">{open}{close}</span>;
  if (depth > 0 && isShort(value)) return <Line value={value} />;
  if (!isOpen.value) {
    return <button class="j-more" onClick={() => (isOpen.value = true)}>{open} {texts.entries(entries.length)} {close}</button>;
  }
  return (
    <>
      <button class="j-fold" aria-label={texts.fold} onClick={() => (isOpen.value = false)}>{open}</button>
      <ul class="j-list">
        {entries.slice(0, most.value).map(([key, entry]) => (
          <li key={key}>
            {!Array.isArray(value) && <><span class="j-k">{JSON.stringify(key)}</span>: </>}
            <Value value={entry} depth={depth + 1} />
          </li>
        ))}
        {entries.length > most.value && <li><button class="j-more" onClick={() => (most.value *= 10)}>{texts.moreEntries(entries.length - most.value)}</button></li>}
      </ul>
      {close}
    </>
  );
}

/** A short value on one line. */
function Line({ value }: { value: object }) {
  const entries = Object.entries(value);
  const [open, close] = Array.isArray(value) ? ["[", "]"] : ["{", "}"];
  return (
    <>
      {open}
      {entries.map(([key, entry], i) => (
        <span key={key}>
          {i > 0 && ", "}
          {!Array.isArray(value) && <><span class="j-k">{JSON.stringify(key)}</span>: </>}
          {entry !== null && typeof entry === "object" && Object.keys(entry).length > 0 ? <Line value={entry as object} /> : <Value value={entry} depth={9} />}
        </span>
      ))}
      {close}
    </>
  );
}

export function Json({ value, label }: { value: unknown; label: string }) {
  return <div class="json" role="group" aria-label={label} tabIndex={0}><Value value={value} depth={0} /></div>;
}
