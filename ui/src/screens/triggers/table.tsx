/** A table of triggers with what can be done to each, and the details of the one that the address names. */
import { api } from "../../api/client";
import { useQuery } from "../../api/query";
import { location, setQuery, to, withQuery } from "../../app/router";
import { Dialog } from "../../parts/dialog";
import { Failure, Time } from "../../parts/parts";
import { Table } from "../../parts/table";
import { useAction } from "../../parts/tools";
import { common } from "../../texts/common";
import { triggers as texts } from "../../texts/triggers";
import { TriggerDialog } from "./details";
import { ScheduleWords } from "../../parts/schedule";
import { LastStart, TriggerActions, TriggerState, type Trigger } from "./parts";

/** Not on a narrow screen, where each value has its name beside it. */
const NONE = <span class="none">{common.none}</span>;

/** `showsFlow` names the flow of each trigger; `reload` loads them again after a change. */
export function TriggerTable({ triggers, showsFlow = false, reload }: { triggers: Trigger[]; showsFlow?: boolean; reload: () => Promise<void> }) {
  const { path, query } = location.value;
  const asked = query.get("trigger");
  const opened = triggers.find(({ id }) => id === asked);
  return (
    <>
      <Table
        rows={triggers}
        keyOf={({ id }) => id}
        columns={[
          {
            head: texts.name, look: "name",
            cell: (trigger) => <>
              <a class="cut" data-nav href={withQuery(path, { ...Object.fromEntries(query), trigger: trigger.id })} title={trigger.name}>{trigger.name}</a>
              <ScheduleWords schedule={trigger.schedule} look="muted small cut block" />
              {trigger.error !== null && <span class="bad small cut block" title={trigger.error}>{trigger.error}</span>}
              {trigger.warning !== null && <span class="muted small cut block" title={trigger.warning}>{trigger.warning}</span>}
            </>,
          },
          showsFlow && { head: texts.flow, look: "where whole", cell: ({ flow_id: flow, flow_name: name }) => <a class="link cut block" href={to(`/flows/${flow}`)} title={name}>{name}</a> },
          { label: texts.type, look: "muted nowrap", cell: ({ type }) => texts.types[type] },
          { head: texts.state, cell: (trigger) => <TriggerState of={trigger} /> },
          { label: texts.next, look: "muted nowrap", cell: ({ next_at: at }) => (at === null ? NONE : <Time at={at} />) },
          { label: texts.last, look: "muted nowrap", cell: (trigger) => (trigger.last_at === null ? NONE : <LastStart of={trigger} />) },
        ]}
        acts={(trigger) => <Acts trigger={trigger} reload={reload} />}
      />
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

/** What can be done with a trigger, one thing at a time. */
function Acts({ trigger, reload }: { trigger: Trigger; reload: () => Promise<void> }) {
  return <TriggerActions trigger={trigger} action={useAction()} reload={reload} />;
}
