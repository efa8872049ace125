/** The flows that use something. */
import { to } from "../app/router";
import { common } from "../texts/common";

type Users = readonly { readonly id: string; readonly name: string }[];

/** Their names on one line, each a link. */
export function UsedBy({ flows }: { flows: Users }) {
  if (flows.length === 0) return <>{common.noFlow}</>;
  return (
    <span class="cut block" title={flows.map(({ name }) => name).join(", ")}>
      {flows.map(({ id, name }, i) => <span key={id}>{i > 0 && ", "}<a class="link" href={to(`/flows/${id}`)}>{name}</a></span>)}
    </span>
  );
}

/** What a question about a deletion says of them. */
export function UsersHint({ flows, none, some }: { flows: Users; none: string; some: string }) {
  if (flows.length === 0) return <p class="muted">{none}</p>;
  return <><p>{some}</p><ul class="stack tight">{flows.map(({ id, name }) => <li key={id} class="wrap"><b>{name}</b></li>)}</ul></>;
}
