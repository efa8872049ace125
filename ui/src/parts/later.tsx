/** Parts of a screen that are loaded when they are first shown. */
import { signal } from "@preact/signals";
import type { ComponentType } from "preact";
import { useEffect } from "preact/hooks";
import { common } from "../texts/common";

/** Return a component that loads the real one once, and shows that it does. */
export function later<P extends object>(load: () => Promise<ComponentType<P>>): (props: P) => preact.JSX.Element {
  const loaded = signal<{ Part: ComponentType<P> } | undefined>(undefined);
  let isLoading = false;
  return (props) => {
    useEffect(() => {
      if (isLoading) return;
      isLoading = true;
      load().then((Part) => (loaded.value = { Part }), () => (isLoading = false));
    }, []);
    if (loaded.value === undefined) return <p class="muted padded" aria-busy="true">{common.loading}</p>;
    const { Part } = loaded.value;
    return <Part {...props} />;
  };
}
