/** The administration of the installation: accounts, audit log, system. */
import { location, to, withQuery } from "../app/router";
import { account } from "../app/session";
import { NotFound } from "../app/not-found";
import { Head } from "../app/shell";
import { Tabs } from "../parts/parts";
import { admin as texts } from "../texts/admin";
import { Accounts } from "./admin/accounts";
import { Audit } from "./admin/audit";
import { System } from "./admin/system";

const TABS = { accounts: Accounts, audit: Audit, system: System } as const;
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
