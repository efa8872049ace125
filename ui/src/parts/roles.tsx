/** The roles of the members of a workspace, as the options of a choice. */
import type { Schemas } from "../api/client";
import { workspace as texts } from "../texts/workspace";

type Role = Schemas["MemberAnswer"]["role"];
const ROLES: readonly Role[] = ["viewer", "operator", "editor", "admin"];

/** Args: chosen: The role that is chosen at first. explained: With what each may do. */
export function RoleOptions({ chosen, explained }: { chosen?: Role; explained?: boolean }) {
  return <>{ROLES.map((role) => <option key={role} value={role} selected={role === chosen}>{texts.roles[role]}{explained && `: ${texts.roleHints[role]}`}</option>)}</>;
}
