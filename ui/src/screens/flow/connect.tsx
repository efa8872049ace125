/** The choice of the action on which a new edge leads to its target. */
import { Dialog } from "../../parts/dialog";
import { build as texts } from "../../texts/build";

interface Props {
  source: string;
  target: string;
  actions: readonly { name: string; isError: boolean }[];
  onChoose: (action: string) => void;
  onClose: () => void;
}

export function ConnectDialog({ source, target, actions, onChoose, onClose }: Props) {
  return (
    <Dialog title={texts.connect(source, target)} onClose={onClose}>
      <p class="muted">{texts.connectHint}</p>
      <div class="row">
        {actions.map(({ name, isError }) => <button key={name} class={isError ? "btn danger" : "btn"} onClick={() => onChoose(name)}>{name}</button>)}
      </div>
    </Dialog>
  );
}
