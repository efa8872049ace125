/** What is beside the picture, which does not wait for it. */
import { later } from "../../parts/later";
import type { Detail, ExecutionStore, Step } from "../../execution/store";
import { executions as texts } from "../../texts/executions";

export interface DrawerProps { store: ExecutionStore; detail: Detail; step: Step | undefined }

const load = () => import("./step");
const Beside = later<DrawerProps>(() => load().then((module) => module.Beside));
// It is needed as soon as the steps are there.
void load().catch(() => undefined);

export function Drawer(props: DrawerProps) {
  return <aside class="drawer" aria-label={texts.steps}><Beside {...props} /></aside>;
}
