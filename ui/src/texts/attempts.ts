/** Words of the comparison of two attempts. */
export const attempts = {
  title: (node: string) => `Attempts of ${node}`,
  left: "Attempt at the left",
  right: "Attempt at the right",
  attempt: (number: number) => `Attempt ${number}`,
  status: "Status",
  started: "Started",
  took: "Took",
  error: "Error",
  message: "Message",
  data: "Data of the error, or result",
  log: "Log",
  differs: "differs",
  alike: "Both are alike.",
  moreLines: (count: number) => `The first ${count} lines of each attempt.`,
  input: "All attempts have the same input.",
};
