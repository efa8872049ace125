import { render } from "preact";
import { App, preload } from "./app/app";
import { listen, location } from "./app/router";
import { open } from "./app/session";
import { Failure } from "./parts/parts";
import "./style/tokens.css";
import "./style/base.css";
import "./style/shell.css";
import "./style/parts.css";
import "./style/graph.css";
import "./style/flow.css";
import "./style/execution.css";
import "./style/overview.css";
import "./style/triggers.css";

const root = document.getElementById("app")!;
listen();
preload(location.peek().path);
open().then(
  () => show(<App />),
  (error: unknown) => show(<main class="alone"><Failure error={error} retry={() => window.location.reload()} /></main>),
);

/** Show something instead of the mark that the page has while it loads. */
function show(content: preact.JSX.Element): void {
  root.replaceChildren();
  render(content, root);
}
