/** Words of the names of steps. */
export const steps = {
  roundOf: (number: number) => `round ${number.toLocaleString("en")}`,
  turn: (number: number) => (number === 0 ? "before turn 1" : `turn ${number}`),
  visit: (node: string, number: number) => `${node} (visit ${number.toLocaleString("en")})`,
};
