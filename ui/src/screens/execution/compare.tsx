/** The button that compares with another execution of the flow; the comparison is loaded when it is asked for, also by the address. */
import { useSignal } from "@preact/signals";
import { location } from "../../app/router";
import { later } from "../../parts/later";
import { step as texts } from "../../texts/step";
import type { CompareProps } from "./comparison";

const Comparison = later<CompareProps>(() => import("./comparison").then((module) => module.Comparison));

export function Compare(props: CompareProps) {
  const isNamed = location.value.query.has("against");
  // It stays when another execution is chosen than that of the address.
  const isOpen = useSignal(isNamed);
  if (!isOpen.value && !isNamed) return <div><button class="btn" onClick={() => (isOpen.value = true)}>{texts.compare}</button></div>;
  return <Comparison {...props} />;
}
