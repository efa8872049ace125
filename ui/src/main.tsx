import { render } from "preact";
import { App, preload } from "./app/app";
import { listen, location } from "./app/router";
import { open } from "./app/session";
import { Failure } from "./parts/parts";
import { common } from "./texts/common";
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
void begin();

async function begin(): Promise<void> {
  try {
    await open();
    show(<App />);
  } catch (error) {
    show(<main class="alone"><div class="card"><div class="brand">{common.product}</div><Failure error={error} retry={begin} /></div></main>);
  }
}

/** Show something instead of the mark that the page has while it loads. */
function show(content: preact.JSX.Element): void {
  if (root.firstElementChild?.classList.contains("loading")) root.replaceChildren();
  render(content, root);
}
