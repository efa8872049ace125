/** What has started executions: triggers by their names, and the executions that were repeated. */
import { api, type Schemas } from "../../api/client";
import { useQuery } from "../../api/query";
import { to } from "../../app/router";
import { workspace } from "../../app/session";
import { shortId } from "../../parts/format";
import { triggerTypes } from "../../texts/common";
import { executions as texts } from "../../texts/executions";

type Execution = Schemas["ExecutionAnswer"];
type Trigger = Schemas["TriggerAnswer"];
export type Triggers = ReadonlyMap<string, Trigger>;

/** The most that one request returns; of others the id is shown. */
const MOST = 1000;

/** Return the triggers of the workspace by id, which are read when one of the executions was started by one. */
export function useTriggers(executions: readonly Execution[]): Triggers {
  const isNeeded = executions.some(({ trigger }) => trigger !== undefined);
  const found = useQuery(`${workspace.value?.id} ${isNeeded}`, async (signal): Promise<Triggers> => {
    if (!isNeeded) return new Map();
    const { triggers } = await api.get("/api/v1/triggers", { query: { limit: MOST }, signal });
    return new Map(triggers.map((trigger) => [trigger.id, trigger]));
  });
  return found.data ?? new Map();
}

export function StartedBy({ of: { rerun_of: original, trigger }, triggers }: { of: Execution; triggers: Triggers }) {
  if (original !== undefined) return <a class="link" href={to(`/executions/${original}`)}>{texts.byRerun}</a>;
  if (trigger === undefined) return <span class="faint">{texts.byNone}</span>;
  const known = triggers.get(trigger);
  return <a class="quiet-link cut block" title={trigger} href={to("/triggers", { trigger })}>{known === undefined ? shortId(trigger) : <>{known.name} <span class="faint">{triggerTypes[known.type]}</span></>}</a>;
}
