/** Words of lost passwords. */
export const passwords = {
  title: "New password",
  password: "New password",
  set: "Set the password",
  ends: "This ends all sessions and API tokens of the account.",
  done: "The password is changed. Log in with the new one.",
  over: "This link is no longer valid",
  overHint: "It was used, or it has expired. Ask for a new one.",
  forgotten: "Forgot your password?",
  ask: "Send a link",
  askHint: "If an account has confirmed this address, it gets an e-mail with a link.",
  sent: "If an account has confirmed this address, an e-mail with a link is on its way. It works for an hour. If none comes, ask an admin.",
  reset: "Reset password",
  resetHint: "You get a link that lets its owner set a new password.",
  madeTitle: (name: string) => `Link for ${name}`,
  madeHint: "It sets a new password: once, within an hour. It is shown only now.",
};
