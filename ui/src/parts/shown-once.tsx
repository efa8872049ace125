/** A dialog with a text that is shown only now, such as a new token: Escape does not close it, only its button does. */
import { common } from "../texts/common";
import { Dialog } from "./dialog";
import { CopyButton } from "./tools";

interface Props {
  title: string;
  hint: string;
  text: string;
  /** The button that closes it. */
  done?: string;
  onClose: () => void;
}

export function ShownOnce({ title, hint, text, done = common.done, onClose }: Props) {
  return (
    <Dialog title={title} actions={<><button class="btn" onClick={onClose}>{done}</button><CopyButton text={text} look="btn primary" /></>}>
      <p class="muted">{hint}</p>
      <pre tabIndex={0}>{text}</pre>
    </Dialog>
  );
}
