/** What is shown where an address leads nowhere. */
import { common } from "../texts/common";
import { to } from "./router";
import { workspace } from "./session";
import { Head } from "./shell";

export function NotFound() {
  const home = workspace.value === undefined ? "/" : to("");
  return <><Head title={common.notFound} /><div class="empty"><p>{common.notFoundHint}</p><a class="btn" href={home}>{common.toOverview}</a></div></>;
}
