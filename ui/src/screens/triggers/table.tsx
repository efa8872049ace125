/** A table of triggers with what can be done to each, and the details of the one that the address names. */
import { api } from "../../api/client";
import { useQuery } from "../../api/query";
import { location, setQuery, to, withQuery } from "../../app/router";
import { Dialog } from "../../parts/dialog";
import { Failure, Time } from "../../parts/parts";
import { useAction } from "../../parts/tools";
import { triggers as texts } from "../../texts/triggers";
import { TriggerDialog } from "./details";
import { ScheduleWords } from "../../parts/schedule";
import { LastStart, TriggerActions, TriggerState, type Trigger } from "./parts";

/** `showsFlow` names the flow of each trigger; `reload` loads them again after a change. */
export function TriggerTable({ triggers, showsFlow = false, reload }: { triggers: Trigger[]; showsFlow?: boolean; reload: () => Promise<void> }) {
  const asked = location.value.query.get("trigger");
  const opened = triggers.find(({ id }) => id === asked);
  return (
    <>
      <div class="card scroll">
        <table class="stacked">
          <thead>
            <tr>
              <th>{texts.name}</th>{showsFlow && <th class="wide-only">{texts.flow}</th>}<th class="wide-only">{texts.type}</th><th>{texts.state}</th>
              <th class="wide-only">{texts.next}</th><th class="wide-only">{texts.last}</th><th><span class="hidden">{texts.actions}</span></th>
            </tr>
          </thead>
          <tbody>{triggers.map((trigger) => <Row key={trigger.id} trigger={trigger} showsFlow={showsFlow} reload={reload} />)}</tbody>
        </table>
      </div>
      {opened !== undefined ? <TriggerDialog trigger={opened} reload={reload} onClose={close} /> : asked !== null && <Unlisted key={asked} id={asked} reload={reload} />}
    </>
  );
}

function close(): void {
  setQuery({ trigger: undefined });
}

/** The details of a trigger that is not in the list: on another page, or of another type. */
function Unlisted({ id, reload }: { id: string; reload: () => Promise<void> }) {
  const trigger = useQuery(id, (signal) => api.get("/api/v1/triggers/{id}", { path: { id }, signal }));
  if (trigger.error !== undefined) return <Dialog title={texts.title} onClose={close}><Failure error={trigger.error} retry={trigger.reload} /></Dialog>;
  return trigger.data === undefined ? null : <TriggerDialog trigger={trigger.data} reload={async () => void (await Promise.all([trigger.reload(), reload()]))} onClose={close} />;
}

function Row({ trigger, showsFlow, reload }: { trigger: Trigger; showsFlow: boolean; reload: () => Promise<void> }) {
  const action = useAction();
  const { path, query } = location.value;
  return (
    <tr>
      <td class="name">
        <a class="cut" data-nav href={withQuery(path, { ...Object.fromEntries(query), trigger: trigger.id })} title={trigger.name}>{trigger.name}</a>
        <ScheduleWords schedule={trigger.schedule} look="muted small cut block" />
        {trigger.error !== null && <span class="bad small cut block" title={trigger.error}>{trigger.error}</span>}
        {trigger.warning !== null && <span class="muted small cut block" title={trigger.warning}>{trigger.warning}</span>}
      </td>
      {showsFlow && <td class="wide-only where whole"><a class="link cut block" href={to(`/flows/${trigger.flow_id}`)} title={trigger.flow_name}>{trigger.flow_name}</a></td>}
      <td class="wide-only muted nowrap" data-label={texts.type}>{texts.types[trigger.type]}</td>
      <td><TriggerState of={trigger} /></td>
      <td class="wide-only muted nowrap" data-label={texts.next}>{trigger.next_at !== null && <Time at={trigger.next_at} />}</td>
      <td class="wide-only muted nowrap" data-label={texts.last}>{trigger.last_at !== null && <LastStart of={trigger} />}</td>
      <td class="num acts"><TriggerActions trigger={trigger} action={action} reload={reload} /></td>
    </tr>
  );
}
