/** A value of an execution by its preview; a long one is loaded when it is asked for. */
import { useSignal } from "@preact/signals";
import { useQuery } from "../../api/query";
import type { Preview } from "../../execution/store";
import { bytes } from "../../parts/format";
import { Json } from "../../parts/json";
import { Failure } from "../../parts/parts";
import { expressionOf } from "../../parts/paths";
import { CopyButton } from "../../parts/tools";
import { visible } from "../../parts/visible";
import { conversation as ofTurns } from "../../texts/conversation";
import { step as texts } from "../../texts/step";
import { Conversation, conversationIn } from "./conversation";

/** Longer values are opened as a file: a page with them is slow. */
const MOST_BYTES = 2_000_000;
/** Values up to here are loaded as a whole at once. */
const SHORT = 64_000;

/** Args: type: Of the step whose parameters or result it is. */
export function Value({ label, heading: Heading = "h3", preview, load, href, path, type }: { label: string; heading?: "h2" | "h3"; preview: Preview; load?: () => Promise<unknown>; href?: string; path?: string; type?: string }) {
  const isAsked = useSignal(false);
  const isWhole = preview.text !== undefined && load !== undefined && (preview.size <= SHORT || isAsked.value);
  const whole = useQuery(`${isWhole} ${preview.size} ${preview.text}`, async () => (isWhole ? { value: await load() } : undefined));
  const isCut = preview.text !== undefined && whole.data === undefined;
  const value = preview.text === undefined ? preview.value : whole.data?.value;
  const found = isCut ? undefined : conversationIn(value, type);
  const isRaw = useSignal(false);
  return (
    <section class="stack tight">
      <div class="row">
        <Heading>{label}</Heading>
        <span class="muted small">{isCut ? texts.cut(bytes(preview.text!.length), bytes(preview.size)) : bytes(preview.size)}</span>
        <span class="row right small">
          {found && <button class="btn quiet small-btn" onClick={() => (isRaw.value = !isRaw.value)}>{isRaw.value ? ofTurns.asTurns : ofTurns.asJson}</button>}
          {!isCut && <CopyButton text={JSON.stringify(value, null, 2) ?? ""} look="btn quiet small-btn" />}
          {path !== undefined && <CopyButton text={expressionOf(path)} label={texts.copyPath} look="btn quiet small-btn" />}
          {isCut && load !== undefined && preview.size <= MOST_BYTES && <button class="link small" onClick={() => (isAsked.value = true)}>{texts.wholeValue}</button>}
          {isCut && href !== undefined && <a class="link" href={href} target="_blank" rel="noreferrer">{texts.download}</a>}
        </span>
      </div>
      {whole.error && <Failure error={whole.error} retry={whole.reload} />}
      {isCut ? <pre class="json" tabIndex={0}>{visible(preview.text!)}…</pre> : found && !isRaw.value ? (
        <>
          <Conversation messages={found.messages} />
          {Object.keys(found.others).length > 0 && <Json label={ofTurns.others(label)} value={found.others} path={path} />}
        </>
      ) : <Json label={label} value={value} path={path} />}
    </section>
  );
}
