/** What the browser keeps for the next page. */

/** Keep a text, if there is room: unsaved texts of flows may have taken all of it. */
export function store(key: string, value: string): void {
  try {
    localStorage.setItem(key, value);
  } catch {
    // What is kept so is a convenience: nothing fails without it.
  }
}
