/** The head of the screens of one flow: its name, its tabs, and what can be done with it. */
import type { ComponentChildren } from "preact";
import type { Query } from "../../api/query";
import { Head } from "../../app/shell";
import { location, to } from "../../app/router";
import { may } from "../../app/session";
import { Failure, Tabs } from "../../parts/parts";
import { flow as texts } from "../../texts/flow";
import type { Saved } from "./saved";

const TABS = ["edit", "executions", "triggers", "revisions", "settings"] as const;

interface Props {
  id: string;
  /** The flow, which names the screen once it is there. */
  flow?: Query<Saved>;
  name?: string;
  beside?: ComponentChildren;
  actions?: ComponentChildren;
}

export function FlowHead({ id, flow, name = flow?.data?.flow.name ?? " ", beside, actions }: Props) {
  return (
    <>
      <Head title={name} crumbs={<a href={to("/flows")}>{texts.flows}</a>} beside={beside} actions={actions}>
        <Tabs
          label={texts.tabs.label}
          tabs={TABS.map((tab) => {
            const href = to(tab === "edit" ? `/flows/${encodeURIComponent(id)}` : `/flows/${encodeURIComponent(id)}/${tab}`);
            return { label: tab === "edit" && !may("editor") ? texts.tabs.read : texts.tabs[tab], href, current: location.value.path === href };
          })}
        />
      </Head>
      {flow?.error && !flow.error.lasts && <Failure error={flow.error} retry={flow.reload} isAbove />}
    </>
  );
}
