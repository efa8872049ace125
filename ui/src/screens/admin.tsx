/** The administration of the installation: accounts, workspaces, audit log, keys, system. */
import { location, to, withQuery } from "../app/router";
import { account } from "../app/session";
import { NotFound } from "../app/not-found";
import { Head } from "../app/shell";
import { Tabs } from "../parts/parts";
import { admin as texts } from "../texts/admin";
import { Accounts } from "./admin/accounts";
import { Keys } from "./admin/keys";
import { System } from "./admin/system";
import { Workspaces } from "./admin/workspaces";
import { AuditLog } from "./audit/log";

const TABS = { accounts: Accounts, workspaces: Workspaces, audit: AuditLog, keys: Keys, system: System } as const;
type Tab = keyof typeof TABS;

export default function Admin() {
  if (account.value?.role !== "admin") return <NotFound />;
  const asked = location.value.query.get("tab") ?? "accounts";
  const tab = (asked in TABS ? asked : "accounts") as Tab;
  const Content = TABS[tab];
  return (
    <>
      <Head title={texts.title}>
        <Tabs label={texts.tabs} tabs={(Object.keys(TABS) as Tab[]).map((name) => ({ label: texts[name], href: withQuery(to("/admin"), { tab: name === "accounts" ? undefined : name }), current: name === tab }))} />
      </Head>
      <div class="content"><Content /></div>
    </>
  );
}
