/** Whether keys without Ctrl or ⌘ do something: with speech input or an unsteady hand, they are pressed by mistake. */
import { signal } from "@preact/signals";
import { store } from "./stored";

const STORED = "flowrunner.single-keys";

export const singleKeys = signal(typeof localStorage === "undefined" || localStorage.getItem(STORED) !== "off");

export function setSingleKeys(on: boolean): void {
  singleKeys.value = on;
  if (on) localStorage.removeItem(STORED);
  else store(STORED, "off");
}
