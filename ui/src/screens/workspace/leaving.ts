/** The way out of a workspace that the reader has left or deleted. */
import { go, homeOf } from "../../app/router";
import { openElsewhere, workspaces } from "../../app/session";
import { done } from "../../parts/toast";

/** Open the first workspace that is left, and say what was done. */
export async function goElsewhere(said: string): Promise<void> {
  await openElsewhere();
  done(said);
  const first = workspaces.peek()[0];
  go(first === undefined ? "/" : homeOf(first), { replace: true });
}
