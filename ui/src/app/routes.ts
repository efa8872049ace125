/** The screens, by their path below `/w/{slug}`. Each is loaded when it is first opened. */
import type { Route } from "./router";

export const routes: Route[] = [
  { path: "", load: () => import("../screens/overview") },
  { path: "/flows", load: () => import("../screens/flows") },
  { path: "/flows/new", load: () => import("../screens/flow-new") },
  { path: "/flows/:id", load: () => import("../screens/flow-edit") },
  { path: "/nodes", load: () => import("../screens/nodes") },
  { path: "/flows/:id/executions", load: () => import("../screens/flow-executions") },
  { path: "/flows/:id/triggers", load: () => import("../screens/flow-triggers") },
  { path: "/flows/:id/revisions", load: () => import("../screens/flow-revisions") },
  { path: "/flows/:id/settings", load: () => import("../screens/flow-settings") },
  { path: "/executions", load: () => import("../screens/executions") },
  { path: "/executions/:id", load: () => import("../screens/execution") },
  { path: "/approvals", load: () => import("../screens/approvals") },
  { path: "/triggers", load: () => import("../screens/triggers") },
  { path: "/callbacks", load: () => import("../screens/callbacks") },
  { path: "/config", load: () => import("../screens/config") },
  { path: "/store", load: () => import("../screens/store") },
  { path: "/secrets", load: () => import("../screens/secrets") },
  { path: "/workspace", load: () => import("../screens/workspace") },
  { path: "/account", load: () => import("../screens/account") },
  { path: "/admin", load: () => import("../screens/admin") },
];
