/** Bring something into sight: at once for readers who want no motion. */
export function reveal(element: Element | null): void {
  element?.scrollIntoView({ block: "start", behavior: window.matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth" });
}
