/** Words of comparisons: with another execution, and of attempts. */
export const comparison = {
  compared: "Compared with",
  against: "Execution or run to compare with",
  lastSuccess: "the last success",
  of: "The execution of",
  neverCompleted: "No other execution of this flow has completed.",
  notThere: "This step did not run in it.",
  tooLong: (size: string) => `${size} is too much data to compare here.`,
};
