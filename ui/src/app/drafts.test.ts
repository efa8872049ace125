import { beforeEach, describe, expect, it } from "vitest";
import { Drafts, nameOfTab } from "./drafts";

let kept: Record<string, string>;
let storage: Storage;

beforeEach(() => {
  kept = {};
  const methods = {
    getItem: (key: string) => kept[key] ?? null,
    setItem: (key: string, value: string) => void (kept[key] = value),
    removeItem: (key: string) => void delete kept[key],
  };
  storage = new Proxy(kept, { get: (_, name) => methods[name as keyof typeof methods] }) as unknown as Storage;
});

const draft = (text: string, at: string) => ({ text, etag: '"1"', revision: 1, at });

describe("the drafts of a flow", () => {
  it("are kept until they are forgotten, and passed over if they cannot be read", () => {
    const drafts = new Drafts(storage, "a");
    expect(drafts.keep("flow-1", draft("mine", "2026-01-01"))).toBe(true);
    expect(drafts.load("flow-1")).toEqual(draft("mine", "2026-01-01"));
    drafts.forget("flow-1");
    kept["flowrunner.draft.flow-1.a"] = "{broken";
    expect(drafts.load("flow-1")).toBeUndefined();
  });

  it("are not kept if there is no room", () => {
    const full = { ...storage, getItem: () => null, setItem: () => { throw new Error("QuotaExceededError"); }, removeItem: () => {} };
    expect(new Drafts(full, "a").keep("flow-1", draft("mine", "2026-01-01"))).toBe(false);
  });

  it("are apart for two tabs", () => {
    const [first, second] = [new Drafts(storage, "a"), new Drafts(storage, "b")];
    first.keep("flow-1", draft("mine", "2026-01-01"));
    second.keep("flow-1", draft("other", "2026-01-02"));

    expect(first.load("flow-1")?.text).toBe("mine");
    second.forget("flow-1");
    expect(first.load("flow-1")?.text).toBe("mine");
  });

  it("go to another tab, the newest first, and are not offered twice", () => {
    new Drafts(storage, "a").keep("flow-1", draft("old", "2026-01-01"));
    new Drafts(storage, "b").keep("flow-1", draft("new", "2026-01-02"));
    const third = new Drafts(storage, "c");

    expect(third.load("flow-1")?.text).toBe("new");
    third.forget("flow-1");
    expect(third.load("flow-1")?.text).toBe("old");
    third.forget("flow-1");
    expect(third.load("flow-1")).toBeUndefined();
    expect(kept).toEqual({});
  });

  it("are found if an earlier version has kept them for all tabs", () => {
    kept["flowrunner.draft.flow-1"] = JSON.stringify(draft("mine", "2026-01-01"));

    expect(new Drafts(storage, "a").load("flow-1")?.text).toBe("mine");
  });
});

describe("a tab", () => {
  it("has its name after it was loaded again, and a copy of it has another one", () => {
    const listeners: Record<string, () => void> = {};
    const page = { sessionStorage: storage, addEventListener: (type: string, listener: () => void) => (listeners[type] = listener) } as unknown as Window;
    const name = nameOfTab(page);
    listeners["pageshow"]!();

    expect(nameOfTab(page)).not.toBe(name);
    expect(nameOfTab({ ...page, sessionStorage: { getItem: () => name } } as unknown as Window)).toBe(name);
  });
});
