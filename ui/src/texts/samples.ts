/** Words of the choice of samples. */
export const samples = {
  hint: "Start with a working sample or an empty flow. You can change everything later.",
  empty: "Empty flow",
  emptyHint: "Add nodes on its graph, or write it, with completion for every key.",
  titles: {
    hello: "Hello",
    http: "Call an API and handle errors",
    webhook: "Receive a webhook",
    schedule: "Start at fixed times",
    approval: "Ask before you act",
    foreach: "Work through a list",
    switch: "Choose a way",
    poll: "Follow a job elsewhere",
    signals: "Wait for signals for days",
    upload: "Send a file",
    email: "Send an e-mail",
    mailbox: "Read a mailbox",
    sql: "Query a database",
    agent: "Let a model call tools",
  },
};
