/** Paths of values in expressions. */

const NAME = /^[A-Za-z_$][\w$]*$/;

/** Return the path of a member or an element: `nodes.a.result`, `nodes["a-b"]`, `list[0]`. */
export function member(path: string, key: string | number): string {
  if (typeof key === "number") return `${path}[${key}]`;
  return NAME.test(key) ? `${path}.${key}` : `${path}[${JSON.stringify(key)}]`;
}

export function expressionOf(path: string): string {
  return `\${${path}}`;
}
