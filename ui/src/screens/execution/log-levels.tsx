/** The number of errors and warnings in a log. */
import { executions as texts } from "../../texts/executions";

export function LogLevels({ logs }: { logs: Record<string, number> }) {
  const errors = logs["error"] ?? 0;
  const warnings = logs["warn"] ?? 0;
  return (
    <span class="levels">
      {errors > 0 && <span class="bad">{texts.errors(errors)}</span>}
      {warnings > 0 && <span class="wait">{texts.warnings(warnings)}</span>}
    </span>
  );
}
