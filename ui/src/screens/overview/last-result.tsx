/** How the last execution of a flow that has ended ended, and how many have not. */
import type { Schemas } from "../../api/client";
import { to } from "../../app/router";
import { Status } from "../../parts/parts";
import { overview as texts } from "../../texts/overview";

const OPEN = ["running", "waiting"];

// As many last executions of a flow as the overview has.
const SHOWN = 20;

/** Args: executions: The last ones, the newest first. */
export function LastResult({ flow, executions }: { flow: string; executions: Schemas["FlowActivityAnswer"]["executions"] }) {
  const ended = executions.find(({ status }) => !OPEN.includes(status));
  const open = executions.filter(({ status }) => OPEN.includes(status)).length;
  // Before the oldest one that is shown there may be others.
  const isMore = executions.length === SHOWN && OPEN.includes(executions[SHOWN - 1]!.status);
  if (executions.length === 0) return <span class="muted small">{texts.neverRun}</span>;
  return (
    <span class="row tight last-result">
      {ended !== undefined && <a href={to(`/executions/${ended.id}`)}><Status of={ended.status} /></a>}
      {open > 0 && <a class="quiet-link muted small nowrap" href={to("/executions", { flow, status: OPEN.join(",") })}>{texts.open(open, isMore)}</a>}
    </span>
  );
}
