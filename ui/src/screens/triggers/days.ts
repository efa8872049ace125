/** The due times of schedules by day, as a calendar shows them. */

export interface Due {
  readonly trigger: string;
  readonly times: readonly string[];
}

export interface Entry {
  readonly trigger: string;
  readonly first: Date;
  readonly count: number;
  /** The schedule goes on after the times that are known, so there may be more on this day. */
  readonly isOpen: boolean;
}

export interface Day {
  readonly date: Date;
  readonly entries: readonly Entry[];
}

/** Return midnight of the Monday before, in the reader's zone. */
export function mondayBefore(at: Date): Date {
  return new Date(at.getFullYear(), at.getMonth(), at.getDate() - ((at.getDay() + 6) % 7));
}

/**
 * Return a number of days with what is due on each, the earliest first.
 *
 * Args: asked: How many times were asked for; a schedule with as many goes on.
 */
export function daysOf(dues: readonly Due[], from: Date, count: number, asked: number): Day[] {
  // Read once: there may be thousands.
  const read = dues.map(({ trigger, times }) => ({ trigger, times: times.map((time) => new Date(time)) }));
  return Array.from({ length: count }, (_, index) => {
    // By the parts of the date: a day may have 23 or 25 hours.
    const date = new Date(from.getFullYear(), from.getMonth(), from.getDate() + index);
    const next = new Date(from.getFullYear(), from.getMonth(), from.getDate() + index + 1);
    const entries = read.flatMap(({ trigger, times }): Entry[] => {
      const within = times.filter((time) => time >= date && time < next);
      const last = times.at(-1);
      const isOpen = times.length >= asked && last !== undefined && last >= date && last < next;
      return within[0] === undefined ? [] : [{ trigger, first: within[0], count: within.length, isOpen }];
    });
    return { date, entries: entries.sort((a, b) => a.first.getTime() - b.first.getTime()) };
  });
}
