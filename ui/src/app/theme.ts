/** Light, dark, or as the system is. `start.js` applies the choice before the first paint. */
import { signal } from "@preact/signals";
import { store } from "./stored";

export type Theme = "auto" | "light" | "dark";
const KEY = "flowrunner.theme";

function stored(): Theme {
  const value = typeof localStorage === "undefined" ? null : localStorage.getItem(KEY);
  return value === "light" || value === "dark" ? value : "auto";
}

export const theme = signal<Theme>(stored());

export function setTheme(choice: Theme): void {
  theme.value = choice;
  if (choice === "auto") {
    localStorage.removeItem(KEY);
    delete document.documentElement.dataset.theme;
  } else {
    store(KEY, choice);
    document.documentElement.dataset.theme = choice;
  }
}
