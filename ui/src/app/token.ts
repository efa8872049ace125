/** The token in the address of a link. */

/** Take the token out of the address, so that neither the history nor a copied address has it. */
export function takeToken(): string {
  const token = window.location.hash.slice(1);
  if (token !== "") window.history.replaceState(null, "", window.location.pathname);
  return token;
}

const KEPT = "flowrunner.invitation";

/** Take the token of an invitation, which this tab keeps for a reload or a login elsewhere until it is used. */
export function takeInvitation(): string {
  const token = takeToken();
  if (token !== "") sessionStorage.setItem(KEPT, token);
  return sessionStorage.getItem(KEPT) ?? "";
}

export function forgetInvitation(): void {
  sessionStorage.removeItem(KEPT);
}
