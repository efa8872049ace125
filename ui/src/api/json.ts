/** JSON in which whole numbers beyond those of JavaScript keep their digits: they are read as bigint, where the browser can write them again. */

declare global {
  interface JSON {
    rawJSON?: (text: string) => unknown;
  }
  interface BigInt {
    toJSON: () => unknown;
  }
}

BigInt.prototype.toJSON = function () {
  return JSON.rawJSON?.(String(this)) ?? Number(this);
};

/** Raises: SyntaxError. */
export function parseJson(text: string): unknown {
  // To look at each value takes several times as long, and few texts have such a number.
  return /\d{16}/.test(text) ? JSON.parse(text, exact) : JSON.parse(text);
}

/** Return the number that a text is; NaN for another text. */
export function numberOf(text: string): number | bigint {
  const number = Number(text);
  return JSON.rawJSON !== undefined && /^-?\d+$/.test(text) && !Number.isSafeInteger(number) ? BigInt(text) : number;
}

function exact(_: string, value: unknown, context?: { source: string }): unknown {
  return typeof value === "number" ? numberOf(context?.source ?? "") || value : value;
}
