/** Tables of lists. On narrow screens each row of most is a block: the name and the state first, the rest with its heading, then what can be done. */
import type { ComponentChildren } from "preact";
import { common } from "../texts/common";
import { SortHead, type Sorting } from "./sort";

export interface Column<T> {
  /** The heading, which is not shown on narrow screens. */
  head?: ComponentChildren;
  /** A heading that is repeated before each value on narrow screens. */
  label?: string;
  /** The heading of a column by which the list is sorted. */
  sort?: Sorting;
  /** Classes of the heading and the cells. */
  look?: string;
  /** What shows on hover over a cell. */
  title?: (row: T) => string | undefined;
  cell: (row: T) => ComponentChildren;
}

interface Props<T> {
  rows: readonly T[];
  keyOf: (row: T) => string | number;
  /** Those that are false are left out. */
  columns: readonly (Column<T> | false)[];
  /** Buttons for what can be done with a row, in the last column. */
  acts?: false | ((row: T) => ComponentChildren);
  look?: string;
  /** Without a card of its own, such as under a heading in the same card. */
  isBare?: boolean;
}

export function Table<T>({ rows, keyOf, columns, acts = false, look = "stacked", isBare }: Props<T>) {
  const shown = columns.filter((column) => column !== false);
  if (acts) shown.push({ head: <span class="hidden">{common.actions}</span>, look: "num acts", cell: acts });
  const table = (
    <table class={look}>
      <thead>
        <tr>{shown.map(({ head, label, sort, look }, i) => (sort === undefined ? <th key={i} class={look}>{head ?? label}</th> : <SortHead key={i} class={look} {...sort} />))}</tr>
      </thead>
      <tbody>
        {rows.map((row) => <tr key={keyOf(row)}>{shown.map(({ label, look, title, cell }, i) => <td key={i} class={look} data-label={label} title={title?.(row)}>{cell(row)}</td>)}</tr>)}
      </tbody>
    </table>
  );
  return isBare ? table : <div class="card scroll">{table}</div>;
}
