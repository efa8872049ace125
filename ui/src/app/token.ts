/** The token in the address of a link. */

/** Take the token out of the address, so that neither the history nor a copied address has it. */
export function takeToken(): string {
  const token = window.location.hash.slice(1);
  if (token !== "") window.history.replaceState(null, "", window.location.pathname);
  return token;
}

/** The pages whose token this tab keeps for a reload or a login elsewhere until it is used. */
type Kept = "invitation" | "confirmation";

export function takeKept(name: Kept): string {
  const token = takeToken();
  if (token !== "") sessionStorage.setItem(`flowrunner.${name}`, token);
  return sessionStorage.getItem(`flowrunner.${name}`) ?? "";
}

export function forgetKept(name: Kept): void {
  sessionStorage.removeItem(`flowrunner.${name}`);
}
