/** Return a name that nothing else has; `crypto.randomUUID` is missing where the page was loaded over plain HTTP. */
export function uniqueName(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
