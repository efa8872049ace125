/** What is wrong with the text, with the edits that mend it. */
import type { Fault } from "../../editor/faults";
import { may } from "../../app/session";
import { missingConfig, missingSecret } from "../../parts/causes";
import { editor as texts } from "../../texts/editor";

interface Props {
  faults: readonly Fault[];
  check: "checked" | "checking" | "failed";
  onReveal: (offset: number) => void;
  onFix: (fault: Fault) => void;
  /** Add what the text names and the workspace has not. */
  onAdd: (kind: "secret" | "config", name: string | undefined) => void;
}

export function Problems({ faults, check, onReveal, onFix, onAdd }: Props) {
  const errors = faults.filter(({ isWarning }) => !isWarning).length;
  const warnings = faults.length - errors;
  const summary = check === "failed" ? texts.offline : faults.length === 0 ? (check === "checking" ? texts.checking : texts.noProblems) : [errors > 0 && texts.errors(errors), warnings > 0 && texts.warnings(warnings)].filter(Boolean).join(", ");
  return (
    <section class="problems" aria-label={texts.problems}>
      <div class="problems-head" role="status">
        <span class={errors > 0 ? "dot bad" : warnings > 0 ? "dot wait" : check === "checked" ? "dot ok" : "dot off"} aria-hidden="true" />
        {summary}
      </div>
      {faults.length > 0 && (
        <ul>
          {faults.map((fault) => (
            <li key={`${fault.code} ${fault.from} ${fault.message}`}>
              <button class="problem" onClick={() => onReveal(fault.from)}>
                <span class={`dot ${fault.isWarning ? "wait" : "bad"}`} aria-hidden="true" />
                <b class="mono">{texts.goTo(fault.line, fault.column)}</b>
                <span>{fault.message}{fault.hint !== undefined && <span class="muted"> · {fault.hint}</span>}</span>
              </button>
              {fault.code === "secret.unknown" && may("editor") && <button class="btn small-btn" onClick={() => onAdd("secret", missingSecret(fault.message))}>{texts.addMissing}</button>}
              {fault.code === "config.unknown" && may("editor") && <button class="btn small-btn" onClick={() => onAdd("config", missingConfig(fault.message))}>{texts.addMissing}</button>}
              {fault.fix && <button class="btn small-btn" onClick={() => onFix(fault)}>{texts.fix(fault.fix.insert)}</button>}
            </li>
          ))}
        </ul>
      )}
    </section>
  );
}
