/** Parts of a screen, and whole ones, that are loaded when they are first shown. */
import { signal } from "@preact/signals";
import type { ComponentChildren, ComponentType } from "preact";
import { useEffect } from "preact/hooks";
import { notLoaded, type ApiError } from "../api/client";
import { common } from "../texts/common";
import { Failure, useRetries } from "./parts";
import { failed } from "./toast";

/** What is shown until a part is there. `failure`: Why it is not, with a button. */
export type Frame = (props: { failure: ComponentChildren }) => preact.JSX.Element;

const Place: Frame = ({ failure }) => <>{failure || <p class="muted padded" aria-busy="true">{common.loading}</p>}</>;

/** Return a component that loads the real one once, and says in its frame that it does, or why it cannot; unless it `isAbove` the page, as a dialog is. */
export function later<P extends object>(load: () => Promise<ComponentType<P>>, { isAbove = false, frame: Around = Place } = {}): (props: P) => preact.JSX.Element | null {
  const loaded = signal<{ Part: ComponentType<P> } | undefined>(undefined);
  const failure = signal<ApiError | undefined>(undefined);
  const attempt = () => load().then((Part) => (loaded.value = { Part }), async () => (failure.value = await notLoaded()));
  return (props) => {
    const error = failure.value;
    useEffect(() => {
      if (loaded.peek()) return;
      failure.value = undefined;
      void attempt();
    }, []);
    // The place of a dialog shows nothing meanwhile.
    useEffect(() => {
      if (isAbove && failure.peek()) failed(failure.peek());
    }, [error?.code]);
    useRetries(isAbove ? error : undefined, attempt);
    if (loaded.value === undefined) {
      // No file of the page's build is there any more.
      return isAbove ? null : <Around failure={error && <Failure error={error} retry={() => (error.passes ? attempt() : location.reload())} />} />;
    }
    const { Part } = loaded.value;
    return <Part {...props} />;
  };
}
