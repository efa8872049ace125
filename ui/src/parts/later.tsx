/** Parts of a screen that are loaded when they are first shown. */
import { signal } from "@preact/signals";
import type { ComponentType } from "preact";
import { useEffect } from "preact/hooks";
import { notLoaded } from "../api/client";
import { common } from "../texts/common";
import { failed } from "./toast";

/** Milliseconds after which a part that could not be loaded is asked for again. */
const RETRY = 5000;

/** Return a component that loads the real one once, and shows that it does unless it `isAbove` the page, as a dialog is; `isPage`: It is all of the page. */
export function later<P extends object>(load: () => Promise<ComponentType<P>>, { isAbove = false, isPage = false } = {}): (props: P) => preact.JSX.Element | null {
  const loaded = signal<{ Part: ComponentType<P> } | undefined>(undefined);
  let isLoading = false;
  const attempt = () => void load().then((Part) => (loaded.value = { Part }), () => {
    // The place of a dialog shows nothing meanwhile.
    if (isAbove) void notLoaded().then(failed);
    setTimeout(attempt, RETRY);
  });
  return (props) => {
    useEffect(() => {
      if (!isLoading) attempt();
      isLoading = true;
    }, []);
    if (loaded.value === undefined) {
      if (isPage) return <main class="alone loading"><p class="brand">{common.product}</p></main>;
      return isAbove ? null : <p class="muted padded" aria-busy="true">{common.loading}</p>;
    }
    const { Part } = loaded.value;
    return <Part {...props} />;
  };
}
