/** A parameter that is a list of maps, such as the tools of an agent: each a form, folded below its name. */
import { useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { freeName } from "../../editor/edits";
import type { Keys } from "../../editor/place";
import { propertiesOf, type FlowSchema } from "../../editor/schema";
import { fieldOf } from "../../forms/fields";
import { isMap, nameOfTool } from "../../graph/document";
import { Icon } from "../../parts/icons";
import { build as texts } from "../../texts/build";
import type { Language } from "./language";
import { NodeField } from "./node-field";
import type { FlowEditor } from "./state";

type Item = Readonly<Record<string, unknown>>;
type Set = (keys: Keys, next: unknown) => unknown;

export function isListOfMaps(value: unknown): value is readonly Item[] {
  return Array.isArray(value) && value.length > 0 && value.every(isMap);
}

/** What a new item of a list begins with, by the name of the parameter. Args: items: Those that are there. */
const NEW: Readonly<Record<string, (items: readonly unknown[]) => Item>> = {
  tools: (items) => ({ name: freeName("new_tool", items.flatMap((item) => (isMap(item) ? (nameOfTool(item) ?? []) : []))), description: "", "http.request": { url: "" } }),
  messages: () => ({ role: "user", content: "" }),
};

export function takesNew(name: string): boolean {
  return Object.hasOwn(NEW, name);
}

/** Return where a new item is set, and what is set there. Args: items: Those that are there; undefined if there is no list. */
export function newItem(name: string, path: Keys, items: readonly unknown[] | undefined): [Keys, unknown] {
  const item = NEW[name]!(items ?? []);
  return items === undefined ? [path, [item]] : [[...path, items.length], item];
}

/** Return the fields that the schema names for an item. */
export function fieldsOfItem(schema: FlowSchema, at: Keys, data: unknown): { name: string; isRequired: boolean }[] {
  return propertiesOf(schema, schema.at(at, data), at, data);
}

/** Return the fields that are written in an item, those without a name in the schema too, and those that are left. */
export function partedFields(schema: FlowSchema, at: Keys, data: unknown, item: Item) {
  const named = fieldsOfItem(schema, at, data);
  const others = Object.keys(item).filter((key) => !named.some(({ name }) => name === key)).map((name) => ({ name, isRequired: false }));
  return { written: [...named.filter(({ name }) => name in item), ...others], left: named.filter(({ name }) => !(name in item)) };
}

/** The button that adds an item to a list of such; nothing for other parameters. */
export function AddItem({ name, path, items, set }: { name: string; path: Keys; items: unknown; set: Set }) {
  if (!takesNew(name) || !(items === undefined || Array.isArray(items))) return null;
  return <div><button class="btn small-btn" onClick={() => set(...newItem(name, path, items))}><Icon name="plus" />{texts.addItem(name)}</button></div>;
}

interface Props {
  model: FlowEditor;
  language: Language;
  name: string;
  path: Keys;
  items: readonly Item[];
  /** The place of the chosen one. */
  opened: unknown;
  set: Set;
}

export function Items({ model, language, name, path, items, opened, set }: Props) {
  // One that follows a removed one stays as it is: folded or not, with what is typed in it.
  const ids = useRef<number[]>([]);
  const latest = useRef(0);
  while (ids.current.length < items.length) ids.current.push(latest.current++);
  return (
    <section class="stack tight" aria-label={name}>
      <h3>{name} <span class="muted small">{items.length}</span></h3>
      {items.map((item, i) => {
        const remove = () => {
          ids.current.splice(i, 1);
          set([...path, i], undefined);
        };
        return <ItemForm key={ids.current[i]} model={model} language={language} at={[...path, i]} item={item} title={titleOf(item) ?? String(i + 1)} isChosen={i === opened} set={set} onRemove={remove} />;
      })}
      <AddItem name={name} path={path} items={items} set={set} />
    </section>
  );
}

function ItemForm({ model, language, at, item, title, isChosen, set, onRemove }: { model: FlowEditor; language: Language; at: Keys; item: Item; title: string; isChosen: boolean; set: Set; onRemove: () => void }) {
  const details = useRef<HTMLDetailsElement>(null);
  // A list may have thousands: its fields are made as soon as it is opened.
  const isSeen = useSignal(false);
  useEffect(() => {
    if (isChosen) details.current?.scrollIntoView({ block: "nearest" });
  }, [isChosen]);
  const isShown = isSeen.value || isChosen;
  return (
    <details class="list-item" open={isChosen} ref={details} onToggle={({ currentTarget }) => { if (currentTarget.open) isSeen.value = true; }}>
      <summary class="cut"><b class="mono">{title}</b> <span class="muted">{noteOf(item)}</span></summary>
      {isShown && (
        <div class="stack">
          <Fields model={model} language={language} at={at} item={item} set={set} />
          <div><button class="btn small-btn danger" onClick={onRemove}>{texts.removeItem(title)}</button></div>
        </div>
      )}
    </details>
  );
}

function Fields({ model, language: { schema }, at, item, set }: { model: FlowEditor; language: Language; at: Keys; item: Item; set: Set }) {
  const data = model.reading.value!.value;
  const { written, left } = partedFields(schema, at, data, item);
  const field = ({ name, isRequired }: (typeof written)[number]) => (
    <NodeField key={name} model={model} field={fieldOf(name, schema.below(at, name, data), isRequired, true)} value={item[name]} onValue={(next) => set([...at, name], next)} />
  );
  return (
    <>
      {written.map(field)}
      {left.length > 0 && <details><summary>{texts.more}</summary><div class="stack">{left.map(field)}</div></details>}
    </>
  );
}

function titleOf({ name, flow, mcp, role }: Item): string | undefined {
  return [name, flow, isMap(mcp) ? mcp.url : undefined, role].find((each) => typeof each === "string" && each !== "") as string | undefined;
}

function noteOf(item: Item): string {
  const { mcp, content, description } = item;
  const tools = isMap(mcp) && Array.isArray(mcp.tools) ? mcp.tools.join(", ") : undefined;
  return [["http.request", "flow", "mcp"].find((kind) => kind in item), tools ?? content ?? description].filter((each) => typeof each === "string").join(" · ");
}
