/** Heads of columns by which the server sorts a list; the order is in the address. */
import { location, setQuery } from "../app/router";
import { common } from "../texts/common";

export interface Sorting {
  label: string;
  /** The orders that a click chooses, one after the other, as `sort` names them: `name`, `-name`. The last click chooses none. */
  orders: readonly string[];
  /** The order of the list without a choice. */
  usual?: string;
}

export function SortHead({ label, orders, usual, class: look }: Sorting & { class?: string }) {
  const chosen = location.value.query.get("sort") ?? usual;
  const at = orders.indexOf(chosen ?? "");
  const next = orders[at + 1] ?? (usual !== undefined && orders.includes(usual) ? orders[0] : undefined);
  const isDescending = chosen?.startsWith("-");
  return (
    <th class={look} aria-sort={at < 0 ? undefined : isDescending ? "descending" : "ascending"}>
      <button class="sort" title={common.sortBy(label)} onClick={() => setQuery({ sort: next === usual ? undefined : next, cursor: undefined })}>{label}<span aria-hidden="true">{at < 0 ? "↕" : isDescending ? "↓" : "↑"}</span></button>
    </th>
  );
}
