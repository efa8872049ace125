/** Words of forms that are made from a schema. */
export const forms = {
  required: "required",
  missing: "This is required",
  notANumber: "This is not a number",
  notWhole: "This is not a whole number",
  atLeast: (least: number) => `At least ${least}`,
  atMost: (most: number) => `At most ${most}`,
  writeList: "Write a list: [a, b]",
  writeMap: "Write a map: {a: 1}",
  notYaml: "This is not valid JSON or YAML",
  byDefault: (value: string) => `Default: ${value}`,
  choose: "Choose…",
  unset: "–",
  structure: "JSON or YAML",
  dateTime: "A moment, such as 2027-01-31T09:00:00Z.",
};
