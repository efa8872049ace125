import { counted } from "../parts/format";

export const json = {
  entries: (count: number) => counted(count, "entry"),
  moreEntries: (count: number) => `${count.toLocaleString("en")} more`,
  moreCharacters: (count: number) => `${count.toLocaleString("en")} more characters`,
  fold: "Fold",
  copy: (expression: string) => `Copy ${expression}`,
  copied: (expression: string) => `Copied ${expression}`,
};
