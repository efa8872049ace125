/** An error of a step: what went wrong, where in the script, and the way to that place in the editor. */
import type { ComponentChildren } from "preact";
import { to } from "../../app/router";
import { may } from "../../app/session";
import { pathOf } from "../../execution/names";
import { isOwnPlace } from "../../execution/places";
import type { Detail } from "../../execution/store";
import { causeOf, missingConfig, missingSecret } from "../../parts/causes";
import { step as texts } from "../../texts/step";

/** Args: step: The step whose error it is; undefined for an error of the execution as a whole. child: The sub-flow that has failed there. */
export function Fault({ detail, message, step, child, children }: { detail: Detail; message: string; step: string | undefined; child?: string; children: ComponentChildren }) {
  const { what, place: found } = causeOf(message);
  const secret = missingSecret(message);
  const value = missingConfig(message);
  const node = step === undefined ? undefined : pathOf(step);
  // A sub-flow's error has its place in the document of that flow.
  const place = found === undefined || step === undefined || isOwnPlace(found.path, step) ? found : undefined;
  return (
    <div class="alert">
      <b>{what}</b>
      {place !== undefined && <span class="small">{place.within === undefined ? texts.inField(place.field) : texts.inLine(place.within, place.field)}</span>}
      <span class="small">{children}</span>
      {secret !== undefined && may("editor") && <a class="link small" href={to("/secrets", { new: secret })}>{texts.addSecret(secret)}</a>}
      {value !== undefined && may("editor") && <a class="link small" href={to("/config", { new: value })}>{texts.addValue(value)}</a>}
      {child !== undefined && <a class="link small" href={to(`/executions/${child}`)}>{texts.inSubFlow}</a>}
      {node !== undefined && <a class="link small" href={editorAt(detail, node, place)}>{may("editor") ? texts.openEditor : texts.showInFlow}</a>}
    </div>
  );
}

/** Return the address of the editor at a node, and at the line of its script in the revision that ran. */
export function editorAt(detail: Detail, node: string, place?: { line: number; within?: number }): string {
  const line = place === undefined ? {} : { line: String(place.line), within: place.within === undefined ? undefined : String(place.within) };
  return to(`/flows/${detail.flow_id}`, { node, revision: detail.revision === undefined ? undefined : String(detail.revision), ...line });
}
