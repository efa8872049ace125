/** Words of the values that are stored for flows: in the configuration and in the store. */
export const value = {
  value: "Value",
  changed: "Changed",
  edit: "Edit…",
  editTitle: (name: string) => `Edit ${name}`,
  exists: (name: string) => `${name} exists already`,
  saved: (name: string) => `${name} is saved`,
  kinds: { string: "It is text.", number: "It is a number.", boolean: "It is true or false.", list: "It is a list.", map: "It is a map.", none: "It is null, which is no value." },
  isNull: "It is null, as a value that is not there.",
  deleteTitle: (name: string) => `Delete ${name}?`,
  deleted: (name: string) => `${name} is deleted`,
};
