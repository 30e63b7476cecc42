/** The operations of a call on results, as a request names them and as an object performs them. */

import type { Chords, Counted, Part } from "./chords.ts";
import type { Coordination, Note } from "./coordination.ts";
import {
  MAX_ANSWER,
  MAX_KEEP_S,
  MAX_KEY_BYTES,
  MAX_RESULT_KEY_BYTES,
  MAX_RESULT_OPS,
  MAX_VALUE,
} from "./limits.ts";
import { asObject, bytesIn, integerOf, Problem, stringOf } from "./problems.ts";
import type { News, Put, ResultRows, Waiter } from "./result_rows.ts";

type Fields = Record<string, unknown>;

export type Op =
  | Put
  | Part
  | { op: "get" | "delete" | "fail"; key: string }
  | ({ op: "watch"; key: string } & Waiter)
  | { op: "expire"; key: string; seconds: number }
  | { op: "size"; key: string; size: number; seconds: number }
  | { op: "add"; key: string; id: string; seconds: number }
  | { op: "parts"; key: string; skip: number }
  | { op: "extend" | "finish"; key: string; token: string; seconds: number }
  | { op: "note"; key: string; member: string; value: string; seconds: number; first: boolean }
  | { op: "notes"; key: string; after: string }
  | { op: "lease"; key: string; owner: string; seconds: number }
  | { op: "release"; key: string; owner: string }
  | { op: "begin"; key: string; owner: string; member: string; value: string; seconds: number }
  | { op: "commit"; key: string; owner: string; member: string };

/** What an operation answers. One that is to be asked again was not performed. */
export type Answer =
  | Counted
  | { value: string | null }
  | { values: string[] }
  | { notes: Note[] }
  | { left: number }
  | { done: boolean }
  | { again: true };

/** Operations that change nothing that another caller sees. */
const READS = ["get", "watch", "parts", "notes"];

export function reads({ op }: Op): boolean {
  return READS.includes(op);
}

/** Return a request's `ops`: a list of 1 to MAX_RESULT_OPS operations. */
export function readOps(document: unknown): Op[] {
  const { ops } = asObject(document, "The body");
  if (!Array.isArray(ops) || ops.length < 1 || ops.length > MAX_RESULT_OPS) {
    throw new Problem(400, `\`ops\` must be a list of 1 to ${MAX_RESULT_OPS}.`);
  }
  return ops.map(readOp);
}

function readOp(entry: unknown): Op {
  const fields = asObject(entry, "An operation");
  const op = stringOf(fields, "op");
  const key = readKey(fields);
  switch (op) {
    case "put": {
      const { ready, final } = fields;
      if (typeof ready !== "boolean" || typeof final !== "boolean") {
        throw new Problem(400, "`ready` and `final` must be true or false.");
      }
      return { op, key, value: readValue(fields), ready, final, seconds: secondsOf(fields) };
    }
    case "get":
    case "delete":
    case "fail":
      return { op, key };
    case "watch":
      return { op, key, scope: nameOf(fields, "scope"), queue: nameOf(fields, "queue") };
    case "expire":
      return { op, key, seconds: secondsOf(fields) };
    case "size":
      return { op, key, size: integerOf(fields, "size", 2 ** 31), seconds: secondsOf(fields) };
    case "add":
      return { op, key, id: nameOf(fields, "id"), seconds: secondsOf(fields) };
    case "part": {
      const { place } = fields;
      if (place !== null && typeof place !== "number") {
        throw new Problem(400, "`place` must be a number, or null.");
      }
      const [member, token] = [readKey(fields, "member"), nameOf(fields, "token")];
      const claim_seconds = integerOf(fields, "claim_seconds", MAX_KEEP_S);
      const [value, seconds] = [readValue(fields), secondsOf(fields)];
      return { op, key, member, place, value, seconds, token, claim_seconds };
    }
    case "parts":
      return { op, key, skip: integerOf(fields, "skip", 2 ** 31) };
    case "extend":
    case "finish":
      return { op, key, token: nameOf(fields, "token"), seconds: secondsOf(fields) };
    case "note": {
      const { first } = fields;
      if (typeof first !== "boolean") throw new Problem(400, "`first` must be true or false.");
      return { op, key, ...noteOf(fields), first };
    }
    case "notes":
      return { op, key, after: stringOf(fields, "after") };
    case "lease":
      return { op, key, owner: nameOf(fields, "owner"), seconds: secondsOf(fields) };
    case "release":
      return { op, key, owner: nameOf(fields, "owner") };
    case "begin":
      return { op, key, owner: nameOf(fields, "owner"), ...noteOf(fields) };
    case "commit":
      return { op, key, owner: nameOf(fields, "owner"), member: readKey(fields, "member") };
    default:
      throw new Problem(400, "`op` is none that there is.");
  }
}

/** What an object keeps, by kind. */
export interface Kept {
  rows: ResultRows;
  chords: Chords;
  coordination: Coordination;
}

/** Perform operations in order; return their answers, and what those who wait are to be told. */
export function perform(ops: Op[], kept: Kept, now: number): { answers: Answer[]; news: News[] } {
  const news: News[] = [];
  let size = 0;
  const answers = ops.map((op): Answer => {
    if (reads(op) && size > MAX_ANSWER) return { again: true };
    const answer = performOne(op, kept, now, news);
    if ("value" in answer) size += answer.value?.length ?? 0;
    if ("values" in answer) size += answer.values.reduce((sum, { length }) => sum + length, 0);
    if ("notes" in answer) size += JSON.stringify(answer.notes).length;
    return answer;
  });
  return { answers, news };
}

function performOne(
  op: Op,
  { rows, chords, coordination }: Kept,
  now: number,
  news: News[],
): Answer {
  switch (op.op) {
    case "put": {
      const told = rows.put(op, now);
      if (told?.waiters.length) news.push(told);
      return { done: told !== null };
    }
    case "get":
      return { value: rows.get(op.key, now)?.value ?? null };
    case "watch":
      return { value: rows.watch(op.key, op, now) };
    case "delete":
      rows.delete(op.key);
      return { done: true };
    case "expire":
      rows.expire(op.key, op.seconds, now);
      return { done: true };
    case "size":
      chords.resize(op.key, op.size, op.seconds, now);
      return { done: true };
    case "add":
      chords.enlarge(op.key, op.id, op.seconds, now);
      return { done: true };
    case "part":
      return chords.add(op, now);
    case "parts":
      return { values: chords.parts(op.key, op.skip) };
    case "extend":
      return { done: chords.extend(op.key, op.token, op.seconds, now) };
    case "finish":
      return { done: chords.finish(op.key, op.token, op.seconds, now) };
    case "fail":
      chords.fail(op.key);
      return { done: true };
    case "note":
      coordination.note(op.key, op.member, op.value, op.seconds, op.first, now);
      return { done: true };
    case "notes":
      return { notes: coordination.notes(op.key, op.after, now) };
    case "lease":
      return { left: coordination.lease(op.key, op.owner, op.seconds, now) };
    case "release":
      coordination.release(op.key, op.owner);
      return { done: true };
    case "begin":
      return {
        done: coordination.begin(op.key, op.owner, op.member, op.value, op.seconds, now),
      };
    case "commit":
      return { done: coordination.commit(op.key, op.owner, op.member, now) };
  }
}

export function readKey(fields: Fields, name = "key"): string {
  const key = stringOf(fields, name);
  if (!key || bytesIn(key) > MAX_RESULT_KEY_BYTES) {
    throw new Problem(400, `\`${name}\` must have 1 to ${MAX_RESULT_KEY_BYTES} bytes.`);
  }
  return key;
}

function readValue(fields: Fields): string {
  const value = stringOf(fields, "value");
  if (value.length > MAX_VALUE) {
    throw new Problem(
      413,
      `A value has at most ${MAX_VALUE} characters: a larger one is an object.`,
    );
  }
  return value;
}

function noteOf(fields: Fields): { member: string; value: string; seconds: number } {
  const value = stringOf(fields, "value");
  if (bytesIn(value) > MAX_RESULT_KEY_BYTES) {
    throw new Problem(400, `A note's value has at most ${MAX_RESULT_KEY_BYTES} bytes.`);
  }
  return { member: readKey(fields, "member"), value, seconds: secondsOf(fields) };
}

function secondsOf(fields: Fields): number {
  return integerOf(fields, "seconds", MAX_KEEP_S);
}

function nameOf(fields: Fields, name: string): string {
  const value = stringOf(fields, name);
  if (!value || bytesIn(value) > MAX_KEY_BYTES) {
    throw new Problem(400, `\`${name}\` must have 1 to ${MAX_KEY_BYTES} bytes.`);
  }
  return value;
}
