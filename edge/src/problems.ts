/** Errors as `application/problem+json` (RFC 9457). A detail never holds a secret. */

import { MAX_BATCH_MESSAGES } from "./limits.ts";

const TITLES: Record<number, string> = {
  400: "Bad Request",
  401: "Unauthorized",
  404: "Not Found",
  405: "Method Not Allowed",
  409: "Conflict",
  410: "Gone",
  413: "Content Too Large",
  426: "Upgrade Required",
  429: "Too Many Requests",
  500: "Internal Server Error",
  503: "Service Unavailable",
};

export class Problem extends Error {
  readonly status: number;
  readonly detail: string;
  readonly headers: Record<string, string>;

  constructor(status: number, detail: string, headers: Record<string, string> = {}) {
    super(detail);
    this.status = status;
    this.detail = detail;
    this.headers = headers;
  }

  response(): Response {
    const title = TITLES[this.status] ?? "Error";
    return Response.json(
      { type: "about:blank", title, status: this.status, detail: this.detail },
      {
        status: this.status,
        headers: { ...this.headers, "content-type": "application/problem+json" },
      },
    );
  }
}

/** Turn anything thrown into a problem. An unforeseen error goes to the log, not to the caller. */
export function asProblem(error: unknown): Problem {
  if (error instanceof Problem) return error;
  log("unexpected-error", { error: String(error) });
  const { retryable, overloaded } = error as { retryable?: boolean; overloaded?: boolean };
  if (retryable || overloaded) {
    return new Problem(503, "The hub, the ledger or a part of the results is busy or moving.", {
      "retry-after": "2",
    });
  }
  return new Problem(500, "The Worker failed; its log says why.");
}

/** Log one event as one line. */
export function log(event: string, fields: Record<string, unknown>): void {
  console.log(JSON.stringify({ event, ...fields }));
}

type Fields = Record<string, unknown>;

export function asObject(value: unknown, what: string): Fields {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new Problem(400, `${what} must be a JSON object.`);
  }
  return value as Fields;
}

/** Return a request's `messages`: a list of 1 to 100 entries. */
export function messagesOf(document: unknown): unknown[] {
  const { messages } = asObject(document, "The body");
  if (!Array.isArray(messages) || messages.length < 1 || messages.length > MAX_BATCH_MESSAGES) {
    throw new Problem(400, `\`messages\` must be a list of 1 to ${MAX_BATCH_MESSAGES}.`);
  }
  return messages;
}

export function stringOf(fields: Fields, name: string): string {
  const value = fields[name];
  if (typeof value !== "string") throw new Problem(400, `\`${name}\` must be a string.`);
  return value;
}

export function integerOf(fields: Fields, name: string, most: number): number {
  const value = fields[name];
  if (!Number.isInteger(value) || (value as number) < 0 || (value as number) > most) {
    throw new Problem(400, `\`${name}\` must be an integer from 0 to ${most}.`);
  }
  return value as number;
}

const encoder = new TextEncoder();

export function bytesIn(text: string): number {
  return encoder.encode(text).byteLength;
}
