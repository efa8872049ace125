/** The dialogs of the editor of a flow. */
import { build } from "../../texts/build";
import { may } from "../../app/session";
import type { Code, EditorActions } from "./actions";
import { later } from "../../parts/later";
import { ConflictDialog } from "./conflict";
import { ConnectDialog } from "./connect";
import type { Language } from "./language";
import { Palette } from "./palette";
import { RunDialog } from "./run";
import type { FlowEditor } from "./state";
import { TestsDialog } from "./tests";

interface AddProps {
  begun: string | undefined;
  listed: readonly string[];
  onSaved: (name: string) => void;
  onClose: () => void;
}

const Secret = later<AddProps>(() => import("../secrets").then((module) => module.SecretDialog), { isAbove: true });
const Value = later<AddProps>(() => import("../config").then((module) => module.ConfigDialog), { isAbove: true });

// With the words of cron expressions, which few need.
const ScheduleDialog = later<{ onChoose: (chosen: object) => void; onClose: () => void }>(() => import("./schedule").then((module) => module.ScheduleDialog), { isAbove: true });

export interface DialogProps {
  model: FlowEditor;
  code: Code;
  language: Language;
  actions: EditorActions;
}

export function EditorDialogs({ model, code, language, actions }: DialogProps) {
  const flow = model.saved.value?.flow;
  const asked = actions.asked.value;
  const add = (names: string[]) => ({
    listed: names,
    onSaved: (name: string) => {
      names.push(name);
      void model.validate();
    },
    onClose: actions.close,
  });
  return (
    <>
      {asked?.kind === "tests" && <TestsDialog definition={model.text.peek()} onClose={actions.close} />}
      {asked?.kind === "insert" && <Palette title={asked.after === undefined ? build.palette : (actions.isEnd(asked.after) ? build.paletteBefore : build.paletteAfter)(asked.after.label)} types={language.types} onChoose={(type) => actions.insert(type, asked.after)} onClose={actions.close} />}
      {asked?.kind === "schedule" && <ScheduleDialog onChoose={(chosen) => actions.addTrigger("schedule", chosen)} onClose={actions.close} />}
      {asked?.kind === "secret" && <Secret begun={asked.name} {...add(language.known.secrets)} />}
      {asked?.kind === "config" && <Value begun={asked.name} {...add(language.known.config)} />}
      {asked?.kind === "connect" && <ConnectDialog source={asked.source.label} target={asked.target.label} actions={actions.freeActions(asked.source)} onChoose={(action) => actions.addEdge(asked.source, action, asked.target)} onClose={actions.close} />}
      {asked?.kind === "run" && flow !== undefined && <RunDialog flow={flow} definition={model.text.value} save={model.isDirty.value && may("editor") ? actions.store : undefined} onClose={actions.close} />}
      {/* Above the others: a start that saves first stays open below it, with its input. */}
      {model.conflict.value !== undefined && <ConflictDialog conflict={model.conflict.value} text={model.text.value} onChoose={(text) => { model.resolve(text); code.current?.replace(text); }} onClose={() => (model.conflict.value = undefined)} />}
    </>
  );
}
