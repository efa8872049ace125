/** A text with the colours that it asks for as for a terminal. */
import { piecesOf } from "./ansi";
import { visible } from "./visible";

export function Coloured({ text }: { text: string }) {
  return <>{piecesOf(text).map(({ text: part, look }, i) => (look === "" ? visible(part) : <span key={i} class={look}>{visible(part)}</span>))}</>;
}
