/** The choice of when a new schedule starts the flow: by words, which its cron expression then says. */
import { useSignal } from "@preact/signals";
import { inWords } from "../../parts/cron";
import { Field, FormDialog } from "../../parts/form";
import { build as texts } from "../../texts/build";
import { triggers } from "../../texts/triggers";
import { cronOf, RHYTHMS, type Rhythm } from "./build";

export function ScheduleDialog({ onChoose, onClose }: { onChoose: (trigger: { cron: string; timezone: string }) => void; onClose: () => void }) {
  const rhythm = useSignal<Rhythm>("day");
  const time = useSignal("02:00");
  const timezone = useSignal(Intl.DateTimeFormat().resolvedOptions().timeZone);
  const cron = cronOf(rhythm.value, time.value);
  return (
    <FormDialog title={triggers.addSchedule} action={texts.addIt} onSubmit={async () => onChoose({ cron, timezone: timezone.value })} onClose={onClose}>
      <div class="columns">
        <Field label={texts.rhythm}>
          {(id) => <select id={id} autofocus value={rhythm.value} onChange={(event) => (rhythm.value = event.currentTarget.value as Rhythm)}>{RHYTHMS.map((each) => <option key={each} value={each}>{texts.rhythms[each]}</option>)}</select>}
        </Field>
        <Field label={texts.time}>{(id) => <input id={id} type="time" required value={time.value} onInput={(event) => (time.value = event.currentTarget.value)} />}</Field>
      </div>
      <Field label={texts.timezone} hint={texts.scheduleHint(inWords(cron) ?? "", cron)}>
        {(id, note) => <input id={id} aria-describedby={note} required autocomplete="off" spellcheck={false} value={timezone.value} onInput={(event) => (timezone.value = event.currentTarget.value.trim())} />}
      </Field>
    </FormDialog>
  );
}
