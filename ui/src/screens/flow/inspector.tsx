/** One node as a form, which is written into the text; comments and layout stay. */
import { useSignal } from "@preact/signals";
import { actionsOf } from "../../editor/names";
import type { Keys } from "../../editor/place";
import { propertiesOf } from "../../editor/schema";
import { fieldOf } from "../../forms/fields";
import { isMap, type DocumentNode } from "../../graph/document";
import { Field } from "../../parts/form";
import { Icon } from "../../parts/icons";
import { Prose } from "../../parts/prose";
import { build as texts } from "../../texts/build";
import { edgesAt, nodeValue, siblings, withEdge, withoutEdge, withValue } from "./build";
import { AddItem, fieldsOfItem, isListOfMaps, Items, takesNew } from "./items";
import type { Language } from "./language";
import { NodeField, useTyped } from "./node-field";
import type { FlowEditor } from "./state";
import { TrialPanel } from "./trial";

interface Props {
  model: FlowEditor;
  language: Language;
  node: DocumentNode;
  /** The part of the node that is chosen, such as a tool of an agent. */
  part: DocumentNode | undefined;
  isReadOnly: boolean;
  /** Write a text; null could not be made. */
  write: (text: string | null) => unknown;
  onInsertAfter: () => void;
  onRename: (name: string) => void;
  onRemove: () => void;
  onClose: () => void;
}

const COMMON = ["description", "if", "timeout", "output"];

export function Inspector({ model, language, node, part, isReadOnly, write, onInsertAfter, onRename, onRemove, onClose }: Props) {
  const reading = model.reading.value!;
  const value = nodeValue(reading, node);
  const type = language.types.find(({ name }) => name === node.type);
  const isBroken = model.isStale.value;
  const paramsPath = [...node.keys, "params"];
  const properties = propertiesOf(language.schema, language.schema.at(paramsPath, reading.value), paramsPath, reading.value).filter(({ isDeprecated }) => !isDeprecated);
  const params = isMap(value.params) ? value.params : {};
  const fieldAt = (path: Keys, name: string, isRequired: boolean) => fieldOf(name, language.schema.below(path, name, reading.value), isRequired, true);
  // A type such as `set` has no names of its own: its parameters are one map.
  const open = properties.length > 0 ? undefined : language.schema.at(paramsPath, reading.value).find(({ additionalProperties }) => additionalProperties === true || isMap(additionalProperties));
  const set = (keys: Keys, next: unknown) => write(withValue(model.text.peek(), keys, next));
  const isTrying = useSignal(false);
  const isLocked = isBroken || isReadOnly;
  return (
    <section
      class="inspector"
      aria-label={texts.panel(node.label)}
      onKeyDown={(event) => {
        // What was typed is written first; what is no value stays in sight.
        if (event.key === "Escape" && model.writeTyped()) onClose();
      }}
    >
      <div class="inspector-head">
        <div class="cut"><h2 class="cut" title={node.label}>{node.label}</h2><span class="muted small">{node.type}</span></div>
        <button class="btn quiet icon right" aria-label={texts.close} onClick={onClose}><Icon name="close" /></button>
      </div>
      {isBroken && <p class="alert note small">{texts.broken}</p>}
      {!isReadOnly && (
        <div class="row tight" role="group" aria-label={texts.views}>
          <button class="chip" aria-pressed={!isTrying.value} onClick={() => (isTrying.value = false)}>{texts.form}</button>
          <button class="chip" aria-pressed={isTrying.value} onClick={() => (isTrying.value = true)}>{texts.tryIt}</button>
        </div>
      )}
      {isTrying.value ? <TrialPanel flow={model.saved.value?.flow.id} node={node} trial={model.trialOf(node.id)} definition={() => model.text.peek()} /> : <fieldset class="plain stack" disabled={isLocked}>
        <NameField model={model} node={node} taken={siblings(reading, node).map(({ label }) => label)} onRename={onRename} />
        {type === undefined ? <p class="muted">{texts.unknownType(node.type)}</p> : <p class="muted small"><Prose text={type.description} /></p>}
        {type !== undefined && (
          <section class="stack" aria-label={texts.params}>
            {properties.length === 0 && open === undefined && <p class="muted small">{texts.noParams}</p>}
            {open !== undefined && <NodeField key={`${node.id} params`} model={model} field={fieldOf("params", [open], false, false)} value={value.params} onValue={(next) => set(paramsPath, next)} />}
            {properties.map(({ name, isRequired }) => {
              const [key, path] = [`${node.id} ${name}`, [...paramsPath, name]];
              const written = params[name];
              // Only items whose fields have names are a form; others are written as a whole.
              const isForm = isListOfMaps(written) && (takesNew(name) || fieldsOfItem(language.schema, [...path, 0], reading.value).length > 0);
              return isForm ? <Items key={key} model={model} language={language} name={name} path={path} items={written} opened={part?.keys[path.length]} set={set} /> : (
                <div key={key} class="stack tight">
                  <NodeField model={model} field={fieldAt(paramsPath, name, isRequired)} value={written} onValue={(next) => set(path, next)} />
                  <AddItem name={name} path={path} items={written ?? undefined} set={set} />
                </div>
              );
            })}
          </section>
        )}
        <Edges model={model} language={language} node={node} value={value} write={write} />
        <details>
          <summary>{texts.more}</summary>
          <div class="stack">
            {COMMON.map((name) => <NodeField key={`${node.id} ${name}`} model={model} field={fieldAt(node.keys, name, false)} value={value[name]} onValue={(next) => set([...node.keys, name], next)} />)}
          </div>
        </details>
        <div class="row">
          <button class="btn" onClick={onInsertAfter}><Icon name="plus" />{type?.actions?.length === 0 ? texts.insertBefore : texts.insertAfter}</button>
          <button class="btn danger right" onClick={onRemove}>{texts.remove}</button>
        </div>
      </fieldset>}
    </section>
  );
}

/** The name of the node; another one is written wherever the text names it. */
function NameField({ model, node: { label }, taken, onRename }: { model: FlowEditor; node: DocumentNode; taken: readonly string[]; onRename: (name: string) => void }) {
  const faultOf = (name: string) => (name === "" ? texts.nameless : name !== label && taken.includes(name) ? texts.taken(name) : undefined);
  const { typed, type, commit } = useTyped(model, (text) => {
    const name = text.trim();
    if (faultOf(name) !== undefined) return false;
    if (name !== label) onRename(name);
    return true;
  });
  return (
    <div onChange={commit}>
      <Field label={texts.name} hint={typed === undefined ? undefined : texts.nameHint} fault={typed === undefined ? undefined : faultOf(typed.trim())}>
        {(id, note) => <input id={id} class="mono" aria-describedby={note} autocomplete="off" spellcheck={false} value={typed ?? label} onInput={(event) => type(event.currentTarget.value)} />}
      </Field>
    </div>
  );
}

function Edges({ model, language, node, value, write }: { model: FlowEditor; language: Language; node: DocumentNode; value: Readonly<Record<string, unknown>>; write: Props["write"] }) {
  const reading = model.reading.value!;
  const edges = edgesAt(reading, node);
  const targets = siblings(reading, node).map(({ label }) => label);
  const left = actionsOf(value, language.known).filter(({ name }) => !edges.some(([action]) => action === name));
  const action = useSignal("");
  const chosen = left.some(({ name }) => name === action.value) ? action.value : (left[0]?.name ?? "");
  return (
    <section class="stack tight" aria-label={texts.edges}>
      <h3>{texts.edges}</h3>
      {edges.length === 0 && <p class="muted small">{texts.noEdges}</p>}
      {edges.map(([name, target]) => (
        <div class="edge-row" key={name}>
          <label class="mono small cut" for={`edge-${name}`} title={name}>{name}</label>
          <select id={`edge-${name}`} value={target} onChange={(event) => write(withEdge(model.text.peek(), node, name, event.currentTarget.value))}>
            {!targets.includes(target) && <option value={target}>{target}</option>}
            {targets.map((each) => <option key={each} value={each}>{each}</option>)}
          </select>
          <button class="btn quiet icon" aria-label={texts.removeEdge(name)} onClick={() => write(withoutEdge(model.text.peek(), node, value, name))}><Icon name="close" /></button>
        </div>
      ))}
      {left.length > 0 && targets.length > 1 && (
        <div class="edge-row">
          <select aria-label={texts.action} value={chosen} onChange={(event) => (action.value = event.currentTarget.value)}>{left.map(({ name }) => <option key={name} value={name}>{name}</option>)}</select>
          <select aria-label={texts.addEdge} value="" onChange={(event) => write(withEdge(model.text.peek(), node, chosen, event.currentTarget.value))}>
            <option value="">{texts.leadsTo}</option>
            {targets.filter((each) => each !== node.label).map((each) => <option key={each} value={each}>{each}</option>)}
          </select>
        </div>
      )}
    </section>
  );
}
