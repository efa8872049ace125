/** Words of the dialog that starts an execution. */
export const run = {
  title: (name: string) => `Run ${name}`,
  run: "Run",
  saveAndRun: "Save and run",
  started: (name: string) => `Started ${name}`,
  ways: "Ways to give the input",
  tabs: { form: "Form", json: "JSON", curl: "curl", cli: "CLI", python: "Python" },
  input: "Input",
  labels: "Labels",
  labelsHint: "One on each line, such as team:core. Lists find the execution by them.",
  notALabel: (line: string) => `This is no label: ${line}`,
  noInputs: "This flow declares no inputs. JSON can give it some all the same.",
  byJson: "The input is written as JSON.",
  useForm: "Use the form",
  missing: "This input is required",
  notAnObject: "The input is an object: {\"name\": \"value\"}",
};
