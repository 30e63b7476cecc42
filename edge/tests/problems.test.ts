import assert from "node:assert/strict";
import { test } from "node:test";
import { MAX_BATCH_MESSAGES } from "../src/limits.ts";
import {
  asObject,
  asProblem,
  bytesIn,
  integerOf,
  messagesOf,
  Problem,
  stringOf,
} from "../src/problems.ts";

const refused = (error: Problem) => error.status === 400;

test("a problem is answered as problem+json with its headers", async () => {
  const answer = new Problem(429, "Wait.", { "retry-after": "2" }).response();
  assert.equal(answer.status, 429);
  assert.equal(answer.headers.get("content-type"), "application/problem+json");
  assert.equal(answer.headers.get("retry-after"), "2");
  const document = {
    type: "about:blank",
    title: "Too Many Requests",
    status: 429,
    detail: "Wait.",
  };
  assert.deepEqual(await answer.json(), document);
});

test("an unforeseen error tells the caller nothing of itself", (t) => {
  const log = t.mock.method(console, "log", () => undefined);
  const problem = asProblem(new Error("a secret"));
  assert.equal(problem.status, 500);
  assert.doesNotMatch(problem.detail, /secret/);
  assert.match(String(log.mock.calls[0]!.arguments[0]), /a secret/);
});

test("a hub that moves is to be asked again", (t) => {
  t.mock.method(console, "log", () => undefined);
  const problem = asProblem(Object.assign(new Error(), { retryable: true }));
  assert.deepEqual([problem.status, problem.headers["retry-after"]], [503, "2"]);
});

test("fields are checked by type and range", () => {
  assert.deepEqual(asObject({ a: 1 }, "It"), { a: 1 });
  for (const wrong of [null, [], "text", 1]) assert.throws(() => asObject(wrong, "It"), refused);
  assert.equal(stringOf({ name: "" }, "name"), "");
  assert.throws(() => stringOf({}, "name"), refused);
  assert.equal(integerOf({ n: 5 }, "n", 5), 5);
  for (const wrong of [-1, 6, 1.5, "1", null]) {
    assert.throws(() => integerOf({ n: wrong }, "n", 5), refused);
  }
});

test("a request has 1 to 100 messages", () => {
  assert.equal(messagesOf({ messages: Array(MAX_BATCH_MESSAGES).fill(1) }).length, 100);
  for (const wrong of [[], Array(MAX_BATCH_MESSAGES + 1).fill(1), {}, undefined]) {
    assert.throws(() => messagesOf({ messages: wrong }), refused);
  }
});

test("bytes are those of UTF-8", () => {
  assert.equal(bytesIn("é€😀"), 2 + 3 + 4);
});
