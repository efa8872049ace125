/** The token in the address of a link. */

/** Take the token out of the address, so that neither the history nor a copied address has it. */
export function takeToken(): string {
  const token = window.location.hash.slice(1);
  if (token !== "") window.history.replaceState(null, "", window.location.pathname);
  return token;
}
