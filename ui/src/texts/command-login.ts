/** Words of the login of the command line. */
export const commandLogin = {
  title: "Log in to the command line",
  asks: "The command flowrunner login asks to act as",
  on: (machine: string) => `It says that it runs on ${machine}.`,
  compare: "It shows this code:",
  warning: "Allow this only if you have just started the command yourself and it shows the same code. It can do everything that you can, until you log it out.",
  allow: "Allow",
  deny: "Deny",
  denied: "Nothing was allowed. You can close this page.",
  paste: "Paste this code into the command. It works once, for two minutes. Give it to no one: anyone who asks for it wants to act as you.",
  faulty: "This link is incomplete. Start the command again, and open the link that it prints.",
};
