/** Words of the choice of samples. */
export const samples = {
  hint: "Begin with a sample that works, or with an empty text. Everything can be changed afterwards.",
  empty: "Empty flow",
  emptyHint: "Write it yourself, with completion for every key.",
  blank: "…",
};
