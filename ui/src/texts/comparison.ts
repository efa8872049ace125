/** Words of comparisons: with the last execution that has completed, and of attempts. */
export const comparison = {
  compared: "Against the last success",
  lastSuccess: "The execution of",
  neverCompleted: "No other execution of this flow has completed.",
  notThere: "This step did not run in it.",
  tooLong: (size: string) => `${size} is too much data to compare here.`,
};
