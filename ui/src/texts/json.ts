export const json = {
  entries: (count: number) => `${count.toLocaleString("en")} ${count === 1 ? "entry" : "entries"}`,
  moreEntries: (count: number) => `${count.toLocaleString("en")} more`,
  moreCharacters: (count: number) => `${count.toLocaleString("en")} more characters`,
  fold: "Fold",
  copy: (expression: string) => `Copy ${expression}`,
  copied: (expression: string) => `Copied ${expression}`,
  notCopied: "The browser did not copy it",
};
