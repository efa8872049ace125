/** The rule by which ended executions of a flow or of a workspace are deleted. */
import { api, type Schemas } from "../api/client";
import { useQuery } from "../api/query";
import { duration } from "../parts/format";
import { Field, Form, useForm } from "../parts/form";
import { Load } from "../parts/parts";
import { lengthOf } from "../parts/retention";
import { done } from "../parts/toast";
import { common } from "../texts/common";
import { retention as texts } from "../texts/retention";

type Rule = Schemas["RetentionAnswer"];
const PATHS = { flow: "/api/v1/flows/{id}/retention", workspace: "/api/v1/workspaces/{id}/retention" } as const;

export function Retention({ kind, id, mayChange }: { kind: "flow" | "workspace"; id: string; mayChange: boolean }) {
  const rule = useQuery(`${kind} ${id}`, (signal) => api.get(PATHS[kind], { path: { id }, signal }));
  return (
    <section class="card padded stack">
      <div><h2>{texts.title}</h2><p class="muted small">{texts.hints[kind]}</p></div>
      <Load query={rule} rows={4}>{(data) => <RetentionForm key={`${data.max_age_seconds} ${data.max_count}`} kind={kind} id={id} rule={data} mayChange={mayChange} onSaved={rule.set} />}</Load>
    </section>
  );
}

function RetentionForm({ kind, id, rule, mayChange, onSaved }: { kind: "flow" | "workspace"; id: string; rule: Rule; mayChange: boolean; onSaved: (rule: Rule) => void }) {
  const age = lengthOf(rule.max_age_seconds);
  const { max_age_seconds: seconds, max_count: most } = rule.in_force;
  const { busy, form } = useForm(async (fields) => {
    const number = (name: string) => (fields.get(name) === "" ? null : Number(fields.get(name)));
    const length = number("max_age_seconds");
    const body = { max_age_seconds: length === null ? null : length * Number(fields.get("unit")), max_count: number("max_count") };
    onSaved(await api.put(PATHS[kind], { path: { id }, body }));
    done(common.saved);
  });
  return (
    <Form {...form}>
      <fieldset class="plain stack" disabled={!mayChange}>
        <div class="columns">
          <Field label={texts.age}>{(field) => <input id={field} name="max_age_seconds" type="number" min={1} step={1} defaultValue={age.number} />}</Field>
          <Field label={texts.unit}>{(field) => <select id={field} name="unit">{Object.entries(texts.units).sort(([a], [b]) => Number(b) - Number(a)).map(([value, label]) => <option key={value} value={value} selected={Number(value) === age.unit}>{label}</option>)}</select>}</Field>
          <Field label={texts.counts[kind]}>{(field) => <input id={field} name="max_count" type="number" min={1} step={1} defaultValue={rule.max_count ?? undefined} />}</Field>
        </div>
        <div class="row"><span class="muted small grow">{texts.inForce(seconds === null ? undefined : duration(seconds * 1000), most)}</span>{mayChange && <button class="btn right" disabled={busy}>{common.save}</button>}</div>
      </fieldset>
    </Form>
  );
}
