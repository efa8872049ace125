import { describe, expect, it } from "vitest";
import { Lines, PAGE, type Line } from "./lines";

/** A log that grows. */
class Log {
  length = 0;
  isAway = false;
  asked: number[] = [];

  page = async (offset: number) => {
    this.asked.push(offset);
    if (this.isAway) throw new Error("away");
    const count = Math.max(0, Math.min(PAGE, this.length - offset));
    return { logs: Array.from({ length: count }, (_, i) => ({ message: String(offset + i) }) as Line), total: this.length };
  };
}

const lines = (log: Log) => new Lines("e", { level: "", node: "", step: "", attempt: "", text: "" }, log.page);
const settled = () => new Promise((done) => setTimeout(done, 0));

describe("the lines of a log that grows", () => {
  it("are all there after a page that was half full", async () => {
    const log = new Log();
    const found = lines(log);
    log.length = 150;
    await found.renew();
    log.length = 950;
    await found.renew();
    await found.renew();
    found.need(100, 400);
    await settled();
    expect([100, 199, 200, 400].map((index) => found.at(index)?.message)).toEqual(["100", "199", "200", "400"]);
  });

  it("stay while the server is away, and are asked for once", async () => {
    const log = new Log();
    const found = lines(log);
    log.length = 10;
    await found.renew();
    log.isAway = true;
    await found.renew();
    expect(found.at(9)?.message).toBe("9");
    const asked = log.asked.length;
    found.need(0, 400);
    expect(log.asked).toHaveLength(asked);
    log.isAway = false;
    await found.renew();
    expect(found.error).toBeUndefined();
  });
});
