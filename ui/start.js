// Runs before the first paint: sets the chosen theme, loads a page again whose scripts are not there, and asks for what the screen of the address needs before its scripts are there.
{
  const theme = localStorage.getItem("flowrunner.theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;

  // The build replaces it by the scripts of each screen.
  const scripts = {};
  const read = ({ pathname, search }) => {
    const [, base, segment, area = "", id, part = "edit"] = pathname.replace(/\/+$/, "").split("/");
    const screen = area === "" ? "overview" : id === undefined ? area : area === "executions" ? "execution" : id === "new" ? "flow-new" : `flow-${part}`;
    const tab = screen === "execution" ? `execution/${new URLSearchParams(search).get("tab") ?? "graph"}` : "";
    return { base, segment, id, screen, tab };
  };

  // Load the scripts of the screen of an address at once: by themselves, they would ask for each other one after the other.
  window.preload = (place) => {
    const { base, screen, tab } = read(place);
    for (const name of (base === "w" && [...(scripts[screen] ?? []), ...(scripts[tab] ?? [])]) || []) document.head.append(Object.assign(document.createElement("link"), { rel: "modulepreload", href: `/assets/${name}.js` }));
  };

  const { base, segment, id, screen } = read(location);
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
      // When it came, since it is read later.
      const answer = fetch(url, { headers, credentials: "same-origin" }).then((response) => Object.assign(response, { at: Date.now() }));
      // Who asks for it learns of the failure.
      answer.catch(() => {});
      early.set(`${place} ${url}`, answer);
    };
    ask("", "workspaces?limit=1000");
    ask("", `accounts/${account}`);
    for (const path of own[screen] ?? []) ask(workspace, path);
  }
  window.preload(location);

  // Behind a load balancer, the page may be of one server and its files asked of another one, of another version.
  const reloads = Number(sessionStorage.getItem("flowrunner.reloads"));
  let isWhole = true;
  document.addEventListener("error", ({ target }) => {
    if (!isWhole || !target.matches("script, [rel=stylesheet]")) return;
    isWhole = false;
    if (reloads < 3) {
      sessionStorage.setItem("flowrunner.reloads", reloads + 1);
      setTimeout(() => location.reload(), 1500);
      return;
    }
    sessionStorage.removeItem("flowrunner.reloads");
    // A script that has run has replaced it.
    const brand = document.querySelector(".loading .brand");
    if (brand) brand.textContent = "FlowRunner is being updated. Reload the page in a minute.";
  }, true);
  addEventListener("load", () => isWhole && sessionStorage.removeItem("flowrunner.reloads"));
}
