/** Words of the names of steps. */
export const steps = {
  roundOf: (number: number) => `round ${number.toLocaleString("en")}`,
  visit: (node: string, number: number) => `${node} (visit ${number.toLocaleString("en")})`,
};
