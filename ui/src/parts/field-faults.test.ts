import { expect, test } from "vitest";
import { ApiError } from "../api/client";
import { fieldFaults } from "./field-faults";

const fault = { path: "email", pointer: "/email", code: "email", message: "must be an e-mail address", hint: "such as ada@example.com" };

test("a fault stands at the field that the server names", () => {
  const error = new ApiError(422, "validation_error", "It is faulty", undefined, { errors: [fault, { ...fault, pointer: "/labels/team", path: "labels.team", message: "Too long", hint: undefined }] });
  expect(fieldFaults(error)).toEqual(new Map([["email", "It must be an e-mail address. Such as ada@example.com."], ["labels", "Too long."]]));
});

test("the fields of a part of the request have the faults in it", () => {
  const error = new ApiError(422, "validation_error", "It is faulty", undefined, { errors: [{ ...fault, pointer: "/input/a~1b/0", hint: undefined }, { ...fault, pointer: "/labels" }] });
  expect(fieldFaults(error, { below: "input" })).toEqual(new Map([["a/b", "It must be an e-mail address."]]));
});

test("a conflict stands at the field that the form says", () => {
  const error = new ApiError(409, "conflict", "The slug is taken");
  expect(fieldFaults(error, { conflict: "slug" }).get("slug")).toBe("The slug is taken.");
  expect(fieldFaults(error).size).toBe(0);
});

test("a wrong token stands at the field that the form says", () => {
  const error = new ApiError(401, "unauthorized", "The token is wrong");
  expect(fieldFaults(error, { denied: "token" })).toEqual(new Map([["token", "The token is wrong."]]));
  expect(fieldFaults(error, { conflict: "slug" }).size).toBe(0);
});

test("what is about no field stands at none", () => {
  expect(fieldFaults(new ApiError(429, "too_many_requests", "Wait"), { conflict: "slug" }).size).toBe(0);
  expect(fieldFaults(new Error("x")).size).toBe(0);
});
