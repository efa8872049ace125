/** Words of the revisions of a flow. */
import { counted } from "../parts/format";

export const revisions = {
  count: (count: number) => counted(count, "revision"),
  list: "Revisions",
  current: "current",
  first: "The first revision",
  compare: (number: number, against: number) => `Revision ${number} compared with ${against}`,
  against: "Compare with",
  views: "View",
  text: "Text",
  graph: "Graph",
  restore: "Restore",
  restoreTitle: (number: number) => `Restore revision ${number}?`,
  restoreHint: "Its text becomes a new revision. All others stay, and open executions keep theirs.",
  restored: (number: number) => `Restored as revision ${number}`,
  same: "The texts are identical.",
  hidden: (count: number) => `${count} unchanged ${count === 1 ? "line" : "lines"}`,
  summary: (added: number, removed: number, changed: number) => [added > 0 && `${added} added`, removed > 0 && `${removed} removed`, changed > 0 && `${changed} changed`].filter(Boolean).join(", ") || "no nodes changed",
  noGraph: "One of the two texts has no graph.",
};
