/** The way to the other pages of a list, whose cursor is in the address. */
import type { ComponentChildren } from "preact";
import { location, withQuery } from "../app/router";
import { common } from "../texts/common";

/** Entries of a page. */
export const PAGE = 50;

interface Props {
  /** The cursor of the next page; undefined on the last one. */
  next: string | undefined;
  /** The name of the cursor in the address, where two lists are on one screen. */
  name?: string;
  /** The word for the next page, such as of a list with the newest first. */
  label?: string;
  /** Names of what the address says of this page alone, such as which entry is open. */
  drops?: readonly string[];
  /** How many there are, in words. */
  count?: ComponentChildren;
  /** At the right end, such as a button. */
  children?: ComponentChildren;
}

/** Links to the first page and to the next one, with the number of all; nothing if there is nothing to say. */
export function Pager({ next, name = "cursor", label = common.next, drops = [], count, children }: Props) {
  const { path, query } = location.value;
  const isFirst = !query.get(name);
  if (isFirst && next === undefined && !count && !children) return null;
  const page = (cursor: string | undefined) => withQuery(path, { ...Object.fromEntries([...query].filter(([key]) => !drops.includes(key))), [name]: cursor });
  return (
    <nav class="more" aria-label={common.pages}>
      {count && <span>{count}</span>}
      {!isFirst && <a class="link" href={page(undefined)}>{common.first}</a>}
      {next !== undefined && <a class="link" href={page(next)}>{label}</a>}
      {children && <span class="right">{children}</span>}
    </nav>
  );
}
