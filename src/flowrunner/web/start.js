// Runs before the first paint: sets the chosen theme, and asks for what the screen of the address needs before its scripts are there.
{
  const theme = localStorage.getItem("flowrunner.theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;

  const [, base, segment, area = "", id, part = "edit"] = location.pathname.replace(/\/+$/, "").split("/");
  const screen = area === "" ? "overview" : id === undefined ? area : area === "executions" ? "execution" : id === "new" ? "flow-new" : `flow-${part}`;
  const tab = screen === "execution" ? `execution/${new URLSearchParams(location.search).get("tab") ?? "graph"}` : "";

  // Written by the session: nothing is asked for before a login.
  const [known, workspace, account] = (localStorage.getItem("flowrunner.start") ?? "").split(" ");
  if (base === "w" && segment === known && !/[^\w-]/.test(id ?? "")) {
    const isPlain = location.search === "";
    const own = {
      overview: ["overview", "executions/histogram"],
      flows: isPlain ? ["flows?cursor=&count=true&limit=50"] : [],
      executions: isPlain ? ["executions?limit=50&cursor=&count=true"] : [],
      execution: [`executions/${id}?view=preview`, `executions/${id}/graph`, `executions/${id}/steps?scope=&limit=500`, ...(location.search === "?tab=logs" ? [`executions/${id}/logs?limit=200&offset=0`] : [])],
      "flow-edit": [`flows/${id}`],
    };
    const early = (window.early = new Map());
    const ask = (place, path) => {
      const url = `/api/v1/${path}`;
      const headers = { Accept: "application/json", ...(place && { "Flowrunner-Workspace": place }) };
      const answer = fetch(url, { headers, credentials: "same-origin" });
      // Who asks for it learns of the failure.
      answer.catch(() => {});
      early.set(`${place} ${url}`, answer);
    };
    ask("", "workspaces?limit=1000");
    ask("", `accounts/${account}`);
    for (const path of own[screen] ?? []) ask(workspace, path);
  }

  // The build replaces it by the scripts of each screen.
  const scripts = {"account":["/assets/account2.js","/assets/query.js","/assets/theme.js","/assets/forms.js","/assets/shared.js","/assets/account.js","/assets/deletion.js","/assets/security2.js","/assets/passkeys.js","/assets/login.js","/assets/security.js"],"admin":["/assets/admin.js","/assets/query.js","/assets/forms.js","/assets/shared.js","/assets/passwords.js","/assets/security.js","/assets/deletion.js","/assets/notices.js","/assets/log.js","/assets/workspace.js","/assets/account.js","/assets/files.js"],"approvals":["/assets/approvals.js","/assets/query.js","/assets/link.js","/assets/shared.js","/assets/forms.js"],"callbacks":["/assets/callbacks.js","/assets/query.js","/assets/shared.js","/assets/forms.js","/assets/flow-choice.js","/assets/flows.js"],"execution":["/assets/execution.js","/assets/rolldown-runtime.js","/assets/store.js","/assets/names.js","/assets/executions.js","/assets/shared.js"],"execution/data":["/assets/data.js","/assets/names.js","/assets/store.js","/assets/executions.js","/assets/step.js","/assets/shared.js","/assets/forms.js"],"execution/graph":["/assets/graph.js","/assets/names.js","/assets/executions.js","/assets/subflows.js","/assets/view.js","/assets/execution.js","/assets/drawer.js","/assets/store.js","/assets/shared.js","/assets/rolldown-runtime.js"],"execution/logs":["/assets/logs.js","/assets/names.js","/assets/coloured.js","/assets/shared.js","/assets/forms.js","/assets/people.js","/assets/executions.js"],"execution/timeline":["/assets/timeline2.js","/assets/executions.js","/assets/names.js","/assets/store.js","/assets/timeline.js","/assets/execution.js","/assets/drawer.js","/assets/rolldown-runtime.js","/assets/shared.js"],"executions":["/assets/executions2.js","/assets/query.js","/assets/shared.js","/assets/forms.js","/assets/labels.js","/assets/log-levels.js","/assets/executions.js","/assets/jobs.js","/assets/flow-choice.js","/assets/people.js","/assets/flows.js"],"flow-edit":["/assets/flow-edit.js","/assets/browser.js","/assets/document.js","/assets/schema.js","/assets/build.js","/assets/view.js","/assets/palette2.js","/assets/flow.js","/assets/lines.js","/assets/forms.js","/assets/run.js","/assets/state.js","/assets/fields.js","/assets/shared.js","/assets/query.js","/assets/names.js","/assets/rolldown-runtime.js","/assets/labels.js"],"flow-executions":["/assets/flow-executions.js","/assets/query.js","/assets/shared.js","/assets/executions.js","/assets/flow.js","/assets/log-levels.js","/assets/executions2.js","/assets/state.js","/assets/charts.js","/assets/people.js","/assets/forms.js","/assets/labels.js","/assets/jobs.js","/assets/flow-choice.js","/assets/browser.js","/assets/document.js","/assets/names.js","/assets/overview.js","/assets/flows.js"],"flow-new":["/assets/flow-new.js","/assets/view.js","/assets/flow-edit.js","/assets/flow.js","/assets/state.js","/assets/browser.js","/assets/names.js","/assets/shared.js","/assets/document.js","/assets/schema.js","/assets/build.js","/assets/palette2.js","/assets/lines.js","/assets/forms.js","/assets/run.js","/assets/fields.js","/assets/query.js","/assets/rolldown-runtime.js","/assets/labels.js"],"flow-revisions":["/assets/flow-revisions.js","/assets/query.js","/assets/people.js","/assets/view.js","/assets/forms.js","/assets/shared.js","/assets/text-diff.js","/assets/revisions.js","/assets/build.js","/assets/state.js","/assets/names.js","/assets/lines.js","/assets/browser.js","/assets/document.js","/assets/flow.js"],"flow-settings":["/assets/flow-settings.js","/assets/query.js","/assets/forms.js","/assets/shared.js","/assets/flow.js","/assets/state.js","/assets/retention.js","/assets/browser.js","/assets/document.js","/assets/names.js"],"flow-triggers":["/assets/flow-triggers.js","/assets/query.js","/assets/flow.js","/assets/table.js","/assets/state.js","/assets/forms.js","/assets/shared.js","/assets/jobs.js","/assets/browser.js","/assets/document.js","/assets/names.js"],"flows":["/assets/flows2.js","/assets/files.js","/assets/query.js","/assets/shared.js","/assets/flow.js","/assets/flows.js","/assets/last-result.js","/assets/overview.js"],"nodes":["/assets/nodes.js","/assets/query.js","/assets/schema.js","/assets/shared.js","/assets/palette2.js","/assets/document.js","/assets/forms.js"],"overview":["/assets/overview2.js","/assets/query.js","/assets/shared.js","/assets/overview.js","/assets/charts.js","/assets/last-result.js"],"secrets":["/assets/secrets.js","/assets/query.js","/assets/forms.js","/assets/shared.js"],"triggers":["/assets/triggers.js","/assets/query.js","/assets/shared.js","/assets/table.js","/assets/forms.js","/assets/jobs.js"],"workspace":["/assets/workspace2.js","/assets/query.js","/assets/forms.js","/assets/shared.js","/assets/log.js","/assets/invitation.js","/assets/workspace.js","/assets/files.js","/assets/security.js","/assets/retention.js","/assets/account.js"]};
  for (const href of (base === "w" && [...(scripts[screen] ?? []), ...(scripts[tab] ?? [])]) || []) document.head.append(Object.assign(document.createElement("link"), { rel: "modulepreload", href }));
}
