/** The entries of the navigation, in order. `narrow` ones are in the bar of small screens; the rest is behind "More". */
import type { IconName } from "../parts/icons";
import { shell } from "../texts/shell";
import { account } from "./session";

export interface Entry {
  label: string;
  path: string;
  icon: IconName;
  narrow?: boolean;
  /** Shown to accounts with this role only. */
  isFor?: "admin";
}

export const entries: Entry[] = [
  { label: shell.overview, path: "", icon: "overview", narrow: true },
  { label: shell.flows, path: "/flows", icon: "flows", narrow: true },
  { label: shell.executions, path: "/executions", icon: "executions", narrow: true },
  { label: shell.approvals, path: "/approvals", icon: "approvals", narrow: true },
  { label: shell.triggers, path: "/triggers", icon: "triggers" },
  { label: shell.callbacks, path: "/callbacks", icon: "callbacks" },
  { label: shell.config, path: "/config", icon: "config" },
  { label: shell.store, path: "/store", icon: "store" },
  { label: shell.secrets, path: "/secrets", icon: "secrets" },
  { label: shell.nodes, path: "/nodes", icon: "nodes" },
  { label: shell.workspace, path: "/workspace", icon: "workspace" },
  { label: shell.admin, path: "/admin", icon: "admin", isFor: "admin" },
  { label: shell.account, path: "/account", icon: "account" },
];

/** The entries that the account may use. */
export function allowed(): Entry[] {
  return entries.filter(({ isFor }) => isFor === undefined || account.value?.role === isFor);
}
