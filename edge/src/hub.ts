/**
 * The hub: WebSockets that pass messages on by exchanges and bindings, one instance for a scope.
 *
 * Its sockets hibernate: an idle hub costs nothing, and what it must not forget is in SQLite
 * (clients.ts) or attached to the socket. The instance called "guard" has no sockets; it keeps the
 * ids of the signatures that were used.
 */

import { DurableObject } from "cloudflare:workers";
import { type Binding, Clients, type Kind } from "./clients";
import { type Env, numberOf } from "./env";
import { asObject, asProblem, bytesIn, integerOf, Problem, stringOf } from "./problems";

const MAX_FRAME = 1_048_576;
const MAX_KEY = 255;
/** Seconds for which a client may be away and keep its bindings. */
const GRACE_S = 60;
/** Seconds between two looks for signatures to forget, while there are any. */
const SWEEP_S = 60;
/** What may be on its way to a client that did not report it; past either its socket is closed. */
const MAX_UNREPORTED = 10_000;
const MAX_UNREPORTED_BYTES = 4 * 1_048_576;

const KINDS = ["direct", "topic", "fanout"];

export interface Message {
  exchange: string;
  kind: Kind;
  key: string;
  text: string;
}

/** What was sent by a socket and not yet reported; attached to it, so that it survives sleep. */
interface Unreported {
  frames: number;
  messages: number;
  bytes: number;
}

type Fields = Record<string, unknown>;

/** A message to a client, as text; a dear one is sent again where its socket may have lost it. */
interface Outgoing {
  text: string;
  dear: boolean;
}

/** What one incoming frame gives rise to, by client: each gets it as one frame. */
class Mail {
  readonly answers = new Map<string, Outgoing[]>();

  add(client: string, message: Fields, dear = false): void {
    if (!this.answers.has(client)) this.answers.set(client, []);
    this.answers.get(client)!.push({ text: JSON.stringify(message), dear });
  }
}

export class Hub extends DurableObject<Env> {
  private readonly clients: Clients;
  /** By client, the dear messages of each frame that its socket was sent and it did not report. */
  private readonly unsure = new Map<string, string[][]>();
  private readonly grace: number;

  constructor(ctx: DurableObjectState, env: Env) {
    super(ctx, env);
    this.grace = numberOf(env, "HUB_GRACE_S", GRACE_S) * 1000;
    this.clients = new Clients(ctx.storage);
    ctx.storage.sql.exec("CREATE TABLE IF NOT EXISTS seen (id TEXT PRIMARY KEY, ends INTEGER)");
    ctx.storage.sql.exec("CREATE INDEX IF NOT EXISTS seen_ends ON seen (ends)");
    ctx.setWebSocketAutoResponse(
      new WebSocketRequestResponsePair('{"op":"ping"}', '{"op":"pong"}'),
    );
    // A deploy or a crash cuts sockets without an event: who has none now left just then.
    ctx.blockConcurrencyWhile(async () => {
      for (const client of this.clients.present()) await this.left(client);
    });
  }

  /** Note that a signature is used, of which `ends` is the time it is worthless; false if it was. */
  async remember(id: string, ends: number): Promise<boolean> {
    const insert = "INSERT INTO seen VALUES (?, ?) ON CONFLICT DO NOTHING";
    const fresh = this.ctx.storage.sql.exec(insert, id, ends).rowsWritten > 0;
    await this.schedule();
    return fresh;
  }

  /** Tell those who watch a queue that it has messages. */
  ring(queue: string): void {
    const mail = new Mail();
    this.toWatchers(queue, mail);
    this.deliver(mail);
  }

  /** Publish for one without a socket; returns how many clients the messages went to, added up. */
  announce(messages: Message[]): number {
    const mail = new Mail();
    const routed = messages.reduce((sum, message) => sum + this.route(message, mail), 0);
    this.deliver(mail);
    return routed;
  }

  /** A client's socket; the Worker has checked the signature. */
  override fetch(request: Request): Response {
    const client = new URL(request.url).searchParams.get("client")!;
    const { 0: theirs, 1: ours } = new WebSocketPair();
    for (const former of this.ctx.getWebSockets(client)) former.close(4001, "replaced");
    this.ctx.acceptWebSocket(ours, [client]);
    this.giveUp(client);
    this.clients.forget(Date.now() - this.grace);
    const { messages, missed } = this.clients.arrive(client);
    const outgoing = messages.map((text) => ({ text, dear: true }));
    if (missed) outgoing.unshift({ text: JSON.stringify({ op: "missed", count: missed }), dear: false });
    if (outgoing.length) this.send(ours, client, outgoing);
    return new Response(null, { status: 101, webSocket: theirs });
  }

  override webSocketMessage(socket: WebSocket, frame: string | ArrayBuffer): void {
    if (socket.readyState !== WebSocket.OPEN) return; // replaced, or too slow: another's turn
    const client = this.ctx.getTags(socket)[0]!;
    if (typeof frame !== "string") return this.refuse(socket, 1003, "A frame is text: JSON.");
    if (frame.length > MAX_FRAME || bytesIn(frame) > MAX_FRAME) {
      return this.refuse(socket, 1009, `A frame is at most ${MAX_FRAME} bytes.`);
    }
    let ops: unknown;
    try {
      ops = JSON.parse(frame);
    } catch {
      return this.refuse(socket, 1003, "The frame is not JSON.");
    }
    const mail = new Mail();
    for (const op of Array.isArray(ops) ? ops : [ops]) {
      try {
        this.perform(asObject(op, "An op"), client, socket, mail);
      } catch (error) {
        const ref = (op as Fields | null)?.["ref"];
        mail.add(client, { op: "error", detail: asProblem(error).detail, ref });
      }
    }
    this.deliver(mail);
  }

  override async webSocketClose(socket: WebSocket, code: number, reason: string, clean: boolean) {
    // A close is answered by hand, or its client waits for it; 1005 means that it named no code.
    const ours = socket.readyState !== WebSocket.CLOSING;
    if (clean && !ours) socket.close(code === 1005 ? 1000 : code, reason);
    await this.left(this.ctx.getTags(socket)[0]!);
  }

  override async webSocketError(socket: WebSocket): Promise<void> {
    await this.left(this.ctx.getTags(socket)[0]!);
  }

  override async alarm(): Promise<void> {
    this.clients.forget(Date.now() - this.grace);
    this.ctx.storage.sql.exec("DELETE FROM seen WHERE ends < ?", Date.now());
    await this.schedule();
  }

  private perform(op: Fields, client: string, socket: WebSocket, mail: Mail): void {
    switch (op["op"]) {
      case "bind":
        return this.clients.bind(client, readBinding(op));
      case "unbind":
        return this.clients.unbind(client, readBinding(op));
      case "publish": {
        const ref = op["ref"] === undefined ? undefined : integerOf(op, "ref", 2 ** 53 - 1);
        const routed = this.route(readMessage(op), mail, op["skip_self"] === true ? client : "");
        if (ref !== undefined) mail.add(client, { op: "ok", ref, routed });
        return;
      }
      case "watch": {
        const queue = keyOf(op, "queue");
        this.clients.watch(client, queue);
        // What came before is not known here: from now on all is.
        return mail.add(client, { op: "ring", queue });
      }
      case "unwatch":
        return this.clients.unwatch(client, keyOf(op, "queue"));
      case "ring":
        return this.toWatchers(keyOf(op, "queue"), mail);
      case "got":
        return this.reported(socket, client, integerOf(op, "frames", 2 ** 53 - 1));
      case "ping": // one that is not spelled so that it is answered in our sleep
        return mail.add(client, { op: "pong" });
      default:
        throw new Problem(400, "`op` is none that the hub knows.");
    }
  }

  private toWatchers(queue: string, mail: Mail): void {
    for (const client of this.clients.watchers(queue)) mail.add(client, { op: "ring", queue });
  }

  private route({ exchange, kind, key, text }: Message, mail: Mail, but = ""): number {
    const routes = this.clients.route(exchange, kind, key);
    routes.delete(but);
    for (const [client, queues] of routes) {
      const delivery = { op: "deliver", queues: [...queues], exchange, key, text };
      mail.add(client, delivery, kind === "direct");
    }
    return routes.size;
  }

  private deliver(mail: Mail): void {
    for (const [client, messages] of mail.answers) {
      const socket = this.socketOf(client);
      if (socket) this.send(socket, client, messages);
      else this.hold(client, messages);
    }
  }

  private send(socket: WebSocket, client: string, messages: Outgoing[]): void {
    const texts = messages.map(({ text }) => text);
    const frame = texts.length === 1 ? texts[0]! : `[${texts.join(",")}]`;
    const line = unreported(socket);
    line.frames += 1;
    line.messages += messages.length;
    line.bytes += bytesIn(frame);
    if (line.messages > MAX_UNREPORTED || line.bytes > MAX_UNREPORTED_BYTES) {
      // The socket itself buffers without a bound, in the hub's memory. Its client may be stuck and
      // never answer the close, so it counts as away from here on.
      const sum = `${line.messages} messages, ${line.bytes} bytes not reported`;
      socket.close(4008, `too slow: ${sum}`);
      this.giveUp(client);
      this.hold(client, messages);
      this.ctx.waitUntil(this.left(client));
      return;
    }
    const unsure = this.unsure.get(client) ?? [];
    while (unsure.length < line.frames - 1) unsure.unshift([]); // those of before our sleep
    unsure.push(messages.filter(({ dear }) => dear).map(({ text }) => text));
    this.unsure.set(client, unsure);
    socket.serializeAttachment(line);
    socket.send(frame);
  }

  private reported(socket: WebSocket, client: string, frames: number): void {
    this.unsure.get(client)?.splice(0, frames);
    takeOff(socket, frames);
  }

  /** Keep, for the client's next socket, what its last one may have lost: replies, not events. */
  private giveUp(client: string): void {
    const lost = this.unsure.get(client)?.flat() ?? [];
    this.unsure.delete(client);
    if (lost.length) this.clients.hold(client, lost, bytesIn);
  }

  /** Only deliveries are kept: a ring or an answer is worth nothing later. */
  private hold(client: string, messages: Outgoing[]): void {
    const texts = messages.map(({ text }) => text);
    const worthy = texts.filter((text) => text.startsWith('{"op":"deliver"'));
    if (worthy.length) this.clients.hold(client, worthy, bytesIn);
  }

  private refuse(socket: WebSocket, code: number, detail: string): void {
    socket.send(JSON.stringify({ op: "error", detail }));
    socket.close(code, detail);
    this.ctx.waitUntil(this.left(this.ctx.getTags(socket)[0]!));
  }

  /** Begin a client's time of grace, unless it has another socket. */
  private async left(client: string): Promise<void> {
    if (this.socketOf(client)) return;
    this.giveUp(client);
    this.clients.leave(client, Date.now());
    await this.schedule();
  }

  private socketOf(client: string): WebSocket | undefined {
    // Those that are closing are listed too.
    return this.ctx.getWebSockets(client).find(({ readyState }) => readyState === WebSocket.OPEN);
  }

  /** See that an alarm rings when the first signature or absent client can be forgotten. */
  private async schedule(): Promise<void> {
    const gone = this.clients.firstGone();
    const { ends } = this.ctx.storage.sql
      .exec<{ ends: number | null }>("SELECT min(ends) AS ends FROM seen")
      .one();
    const next = Math.min(
      gone === null ? Infinity : gone + this.grace,
      ends === null ? Infinity : ends + SWEEP_S * 1000,
    );
    if (next < ((await this.ctx.storage.getAlarm()) ?? Infinity)) {
      await this.ctx.storage.setAlarm(next);
    }
  }
}

/** A message to publish, of an op or of a request. */
export function readMessage(entry: unknown): Message {
  const fields = asObject(entry, "A message");
  const { exchange, kind, key } = readAddress(fields);
  return { exchange, kind, key, text: stringOf(fields, "text") };
}

function readBinding(op: Fields): Binding {
  return { ...readAddress(op), queue: keyOf(op, "queue") };
}

function readAddress(fields: Fields): { exchange: string; kind: Kind; key: string } {
  const exchange = keyOf(fields, "exchange");
  const kind = stringOf(fields, "kind");
  if (!KINDS.includes(kind)) throw new Problem(400, `\`kind\` is one of ${KINDS.join(", ")}.`);
  // The default exchange is a direct one, whatever the caller takes it for.
  return { exchange, kind: (exchange ? kind : "direct") as Kind, key: keyOf(fields, "key") };
}

function keyOf(fields: Fields, name: string): string {
  const value = stringOf(fields, name);
  if (bytesIn(value) > MAX_KEY) throw new Problem(400, `\`${name}\` is at most ${MAX_KEY} bytes.`);
  return value;
}

function unreported(socket: WebSocket): Unreported {
  const none = { frames: 0, messages: 0, bytes: 0 };
  return (socket.deserializeAttachment() as Unreported | null) ?? none;
}

/** Take `frames` off what is on its way: how large each was is not kept, so their average counts. */
function takeOff(socket: WebSocket, frames: number): void {
  const line = unreported(socket);
  const rest = Math.max(0, 1 - frames / Math.max(line.frames, 1));
  socket.serializeAttachment({
    frames: Math.max(0, line.frames - frames),
    messages: line.messages * rest,
    bytes: line.bytes * rest,
  });
}
