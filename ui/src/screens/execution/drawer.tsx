/** What is beside the picture, which does not wait for it. */
import { useEffect, useRef } from "preact/hooks";
import { location } from "../../app/router";
import { later } from "../../parts/later";
import type { Detail, ExecutionStore, Step } from "../../execution/store";
import { executions as texts } from "../../texts/executions";

export interface DrawerProps { store: ExecutionStore; detail: Detail; step: Step | undefined }

const load = () => import("./step");
const Beside = later<DrawerProps>(() => load().then((module) => module.Beside));
// It is needed as soon as the steps are there.
void load().catch(() => undefined);

export function Drawer(props: DrawerProps) {
  const { query } = location.value;
  const chosen = ["step", "node", "loop"].map((name) => query.get(name)).join(" ");
  const panel = useRef<HTMLElement>(null);
  const first = useRef(chosen);
  // On a narrow screen it is below the picture, out of sight.
  useEffect(() => {
    if (first.current !== chosen && window.matchMedia("(max-width: 900px)").matches) panel.current?.scrollIntoView();
    first.current = chosen;
  }, [chosen]);
  return <aside ref={panel} class="drawer" aria-label={texts.steps}><Beside {...props} /></aside>;
}
