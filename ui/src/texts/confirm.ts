export const confirm = {
  title: "Confirm your e-mail address",
  logInFirst: "Log in with the account that has this address.",
  asks: "This is the e-mail address of the account that you are logged in with:",
  confirm: "It is mine",
  done: "The e-mail address is confirmed",
  over: "This link does not work",
  overHint: "It was used, was replaced by a newer one, has expired, or is for another account. Send a new one from your account screen.",
  go: "Continue",
};
