/** Words above every screen. */
export const notices = {
  paused: "This installation is paused: it starts no new executions.",
  since: "Since",
  system: "System",
};
