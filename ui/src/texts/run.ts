/** Words of the dialog that starts an execution. */
export const run = {
  title: (name: string) => `Run ${name}`,
  run: "Run",
  saveAndRun: "Save and run",
  started: (name: string) => `Started ${name}`,
  ways: "Ways to enter the input",
  tabs: { form: "Form", json: "JSON", curl: "curl", cli: "CLI", python: "Python" },
  input: "Input",
  fill: "Use the input of the last execution",
  labels: "Labels",
  labelsHint: "One per line, such as team:core. They help to find the execution in lists.",
  notALabel: (line: string) => `Not a label: ${line}. Write name:value`,
  noInputs: "This flow declares no inputs. You can still send some as JSON.",
  byJson: "The input is written as JSON.",
  useForm: "Use the form",
  missing: "This input is required",
  notAnObject: "Write an object: {\"name\": \"value\"}",
};
