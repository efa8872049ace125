/** Words of the choice of samples. */
export const samples = {
  hint: "Start with a working sample or an empty flow. You can change everything later.",
  empty: "Empty flow",
  emptyHint: "Write it yourself, with completion for every key.",
};
