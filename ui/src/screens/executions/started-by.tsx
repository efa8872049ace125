/** Who or what has started executions: accounts and triggers by their names, and the executions that were repeated. */
import { api, type Schemas } from "../../api/client";
import { useQuery } from "../../api/query";
import { personOf } from "../../app/people";
import { to } from "../../app/router";
import { workspace } from "../../app/session";
import { shortId } from "../../parts/format";
import { Icon } from "../../parts/icons";
import { triggerTypes } from "../../texts/common";
import { executionList as ofList } from "../../texts/execution-list";
import { facts } from "../../texts/facts";

type Start = Pick<Schemas["ExecutionAnswer"], "rerun_of" | "trigger" | "parent_id" | "started_by">;
type Trigger = Schemas["TriggerAnswer"];
export type Triggers = ReadonlyMap<string, Trigger>;

/** The most that one request returns; of others the id is shown. */
const MOST = 1000;

/** Return the triggers of the workspace by id. Args: isNeeded: False reads none. */
export function useTriggers(isNeeded: boolean): Triggers {
  const found = useQuery(`${workspace.value?.id} ${isNeeded}`, async (signal): Promise<Triggers> => {
    if (!isNeeded) return new Map();
    const { triggers } = await api.get("/api/v1/triggers", { query: { limit: MOST }, signal });
    return new Map(triggers.map((trigger) => [trigger.id, trigger]));
  });
  return found.data ?? new Map();
}

export function StartedBy({ of: { rerun_of: original, trigger, parent_id: parent, started_by: account }, triggers }: { of: Start; triggers: Triggers }) {
  const person = account && personOf(account);
  const by = person && facts.byPerson(person);
  if (original !== undefined) return <span class="row tight nowrap"><a class="link" href={to(`/executions/${original}`)}>{facts.byRerun}</a>{by && <span class="cut" title={person}>{by}</span>}<FilterLink name="rerun_of" value={original} label={facts.onlyReruns} /></span>;
  if (parent !== undefined) return <a class="link" href={to(`/executions/${parent}`)}>{ofList.bySubFlow}</a>;
  if (trigger === undefined) return person ? <span class="cut" title={person}>{person}</span> : <span class="faint">{facts.byNone}</span>;
  const known = triggers.get(trigger);
  const words = known === undefined ? shortId(trigger) : known.name;
  const more = [known && triggerTypes[known.type], by].filter(Boolean).join(" ");
  return <span class="row tight nowrap"><a class="quiet-link cut" title={[words, more, trigger].join(" ")} href={to("/triggers", { trigger })}>{words} <span class="faint">{more}</span></a><FilterLink name="trigger" value={trigger} label={facts.onlyTrigger(words)} /></span>;
}

/** A link to the executions with the same value. */
function FilterLink({ name, value, label }: { name: string; value: string; label: string }) {
  return <a class="filter-link" href={to("/executions", { [name]: value })} title={label} aria-label={label}><Icon name="filter" /></a>;
}
