/** Words of lost passwords. */
export const passwords = {
  title: "New password",
  password: "New password",
  set: "Set the password",
  ends: "All logins and API tokens of the account end.",
  done: "The password is changed. Log in with it.",
  over: "This link is over",
  overHint: "It was used, or has expired. Ask for another one.",
  forgotten: "Forgot your password?",
  ask: "Send a link",
  askHint: "If the address has an account, it gets an e-mail with a link.",
  sent: "If the address has an account, an e-mail with a link is on its way. The link works for an hour.",
  reset: "Reset password",
  resetHint: "You get a link with which its owner sets a new password.",
  madeTitle: (name: string) => `Link for ${name}`,
  madeHint: "With it, a new password is set: once, within an hour. It is shown only now.",
};
