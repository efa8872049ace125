/** Words of the conversation of a language model. */
export const conversation = {
  asTurns: "Show as turns",
  asJson: "Show as JSON",
  roles: { system: "Instructions", user: "User", assistant: "Model" } as Record<string, string>,
  turn: (number: number) => `turn ${number}`,
  calls: "calls",
  argumentsOf: (name: string) => `Arguments of ${name}`,
  answers: (name: string) => `${name} answers`,
  others: (label: string) => `What ${label} has besides`,
  data: "Data",
  more: (count: number) => `${count.toLocaleString("en")} characters`,
};
