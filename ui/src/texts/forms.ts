/** Words of forms that are made from a schema. */
export const forms = {
  required: "required",
  byDefault: (value: string) => `Default: ${value}`,
  choose: "Choose…",
  unset: "–",
  structure: "JSON or YAML",
};
