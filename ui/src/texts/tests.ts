/** Words of the tests of a flow's document. */
export const tests = {
  title: "Tests of this text",
  hint: "They run without a network: nodes with outside effects answer with their mocks.",
  running: "Running…",
  none: "The text has no tests. Write them below the key tests: an input, mocks, and what to expect.",
  passed: (count: number) => `${count} passed`,
  failed: (count: number) => `${count} failed`,
  expected: "Expected",
  actual: "Actual",
  coverage: (taken: number, edges: number) => `${taken} of ${edges} edges taken`,
  never: "Never taken",
};
