/** A button that copies what the screen reads as a command for a shell. */
import { addressOf } from "../api/client";
import { namedWorkspace } from "../app/session";
import { curl } from "../forms/commands";
import { common } from "../texts/common";
import { CopyButton } from "./tools";

export function CurlButton({ path, query }: { path: string; query?: Record<string, unknown> }) {
  const text = curl({ method: "GET", path: addressOf(path, {}, query), workspace: namedWorkspace.value, body: undefined }, window.location.origin);
  return <CopyButton text={text} label={common.copyCurl} look="btn quiet small-btn" />;
}
