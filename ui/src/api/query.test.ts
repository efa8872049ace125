import { expect, test } from "vitest";
import { ApiError } from "./client";
import { Loaded } from "./query";

/** A query whose requests are answered by hand, in any order. */
function asked(): { query: Loaded<string>; answer: ((data: string | ApiError) => void)[] } {
  const query = new Loaded<string>("key", undefined);
  const answer: ((data: string | ApiError) => void)[] = [];
  query.load = () => new Promise((resolve, reject) => answer.push((data) => (data instanceof ApiError ? reject(data) : resolve(data))));
  return { query, answer };
}

test("an answer that comes after that of a later request is not shown", async () => {
  const { query, answer } = asked();
  const under = [query.reload(), query.reload()];
  answer[1]!("new");
  await under[1];
  answer[0]!("old");
  await under[0];

  expect([query.data, query.loading]).toEqual(["new", false]);
});

test("the error of a request that was given up hides nothing", async () => {
  const { query, answer } = asked();
  const under = [query.reload(), query.reload()];
  answer[0]!(new ApiError(503, "unavailable", "Try again"));
  answer[1]!("new");
  await Promise.all(under);

  expect([query.data, query.error]).toEqual(["new", undefined]);
});

test("what was refused is not asked for again by itself, and an outage is", async () => {
  const { query, answer } = asked();
  for (const [status, requests] of [[404, 1], [403, 1], [422, 1], [429, 2], [503, 2], [500, 2]] as const) {
    answer.length = 0;
    const first = query.reload();
    answer[0]!(new ApiError(status, "any", "No"));
    await first;

    query.tick();
    expect([status, answer.length]).toEqual([status, requests]);
  }
});

test("what was shown stays while it is loaded again, and when that fails", async () => {
  const { query, answer } = asked();
  const first = query.reload();
  answer[0]!("first");
  await first;

  const second = query.reload();
  expect([query.data, query.loading]).toEqual(["first", true]);
  answer[1]!(new ApiError(503, "unavailable", "Try again"));
  await second;
  expect([query.data, query.error?.message]).toEqual(["first", "Try again"]);
});

test("what a change has answered is not replaced by an answer that was asked for before", async () => {
  const { query, answer } = asked();
  const under = query.reload();
  query.set("changed");
  answer[0]!("old");
  await under;

  expect([query.data, query.loading]).toEqual(["changed", false]);
});
