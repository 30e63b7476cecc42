/**
 * The hub passes messages between WebSockets by exchanges and bindings. Each scope has an instance.
 *
 * Sockets hibernate, so an idle hub costs nothing. Its state is in SQLite (clients.ts) or attached
 * to a socket. The instance "guard" has no sockets: it keeps the ids of the signatures that were
 * used.
 */

import { DurableObject } from "cloudflare:workers";
import { type Binding, Clients, type Kind } from "./clients.ts";
import {
  GRACE_S,
  MAX_FRAME_BYTES,
  MAX_KEY_BYTES,
  MAX_UNREPORTED,
  MAX_UNREPORTED_BYTES,
  SWEEP_S,
} from "./limits.ts";
import { numberOf, type Patience } from "./patience.ts";
import { asObject, asProblem, bytesIn, integerOf, Problem, stringOf } from "./problems.ts";

const KINDS = ["direct", "topic", "fanout"];

export interface Message {
  exchange: string;
  kind: Kind;
  key: string;
  text: string;
}

/** What a socket was sent and its client has not reported. The socket carries it through sleep. */
interface InFlight {
  frames: number;
  messages: number;
  bytes: number;
}

type Fields = Record<string, unknown>;

/** A message to a client, as text. A reliable one is sent again when its socket may have lost it. */
interface Outgoing {
  text: string;
  reliable: boolean;
}

/** The messages that one incoming frame causes, by client. Each client gets its own as one frame. */
class Outbox {
  readonly byClient = new Map<string, Outgoing[]>();

  add(client: string, message: Fields, reliable = false): void {
    if (!this.byClient.has(client)) this.byClient.set(client, []);
    this.byClient.get(client)!.push({ text: JSON.stringify(message), reliable });
  }
}

export class Hub extends DurableObject<Patience> {
  private readonly clients: Clients;
  /** By client: the reliable messages of each frame that it has not reported. */
  private readonly unreported = new Map<string, string[][]>();
  private readonly grace: number;

  constructor(ctx: DurableObjectState, env: Patience) {
    super(ctx, env);
    this.grace = numberOf(env, "HUB_GRACE_S", GRACE_S) * 1000;
    this.clients = new Clients(ctx.storage);
    ctx.storage.sql.exec("CREATE TABLE IF NOT EXISTS seen (id TEXT PRIMARY KEY, ends INTEGER)");
    ctx.storage.sql.exec("CREATE INDEX IF NOT EXISTS seen_ends ON seen (ends)");
    ctx.setWebSocketAutoResponse(
      new WebSocketRequestResponsePair('{"op":"ping"}', '{"op":"pong"}'),
    );
    // A deploy or a crash cuts sockets without an event: a client without one is away from now on.
    ctx.blockConcurrencyWhile(async () => {
      for (const client of this.clients.present()) await this.startGrace(client);
    });
  }

  /** Note that a signature is used, until it expires at `ends`. Return false if it was used before. */
  async remember(id: string, ends: number): Promise<boolean> {
    const insert = "INSERT INTO seen VALUES (?, ?) ON CONFLICT DO NOTHING";
    const fresh = this.ctx.storage.sql.exec(insert, id, ends).rowsWritten > 0;
    await this.schedule();
    return fresh;
  }

  /** Return how many clients are connected. */
  connected(): number {
    const open = this.ctx.getWebSockets().filter((each) => each.readyState === WebSocket.OPEN);
    return open.length;
  }

  /** Wake the clients that watch a queue: it has messages. */
  wakeUp(queue: string): void {
    const outbox = new Outbox();
    this.wakeWatchers(queue, outbox);
    this.deliver(outbox);
  }

  /** Publish without a socket. Return the number of deliveries to clients. */
  announce(messages: Message[]): number {
    const outbox = new Outbox();
    const routed = messages.reduce((sum, message) => sum + this.route(message, outbox), 0);
    this.deliver(outbox);
    return routed;
  }

  /** Open a client's socket. The Worker has checked the signature. */
  override fetch(request: Request): Response {
    const client = new URL(request.url).searchParams.get("client")!;
    const { 0: theirs, 1: ours } = new WebSocketPair();
    for (const former of this.ctx.getWebSockets(client)) former.close(4001, "replaced");
    this.ctx.acceptWebSocket(ours, [client]);
    this.holdInFlight(client);
    this.clients.forget(Date.now() - this.grace);
    const { messages, missed } = this.clients.arrive(client);
    const outgoing = messages.map((text) => ({ text, reliable: true }));
    if (missed)
      outgoing.unshift({ text: JSON.stringify({ op: "missed", count: missed }), reliable: false });
    if (outgoing.length) this.send(ours, client, outgoing);
    return new Response(null, { status: 101, webSocket: theirs });
  }

  override webSocketMessage(socket: WebSocket, frame: string | ArrayBuffer): void {
    if (socket.readyState !== WebSocket.OPEN) return; // replaced, or closed for being slow
    const client = this.ctx.getTags(socket)[0]!;
    if (typeof frame !== "string") return this.refuse(socket, 1003, "A frame is text: JSON.");
    if (frame.length > MAX_FRAME_BYTES || bytesIn(frame) > MAX_FRAME_BYTES) {
      return this.refuse(socket, 1009, `A frame is at most ${MAX_FRAME_BYTES} bytes.`);
    }
    let ops: unknown;
    try {
      ops = JSON.parse(frame);
    } catch {
      return this.refuse(socket, 1003, "The frame is not JSON.");
    }
    const outbox = new Outbox();
    for (const op of Array.isArray(ops) ? ops : [ops]) {
      try {
        this.perform(asObject(op, "An op"), client, socket, outbox);
      } catch (error) {
        const ref = (op as Fields | null)?.["ref"];
        outbox.add(client, { op: "error", detail: asProblem(error).detail, ref });
      }
    }
    this.deliver(outbox);
  }

  override async webSocketClose(socket: WebSocket, code: number, reason: string, clean: boolean) {
    // The runtime does not answer a close by itself. 1005 means that the client named no code.
    const ours = socket.readyState !== WebSocket.CLOSING;
    if (clean && !ours) socket.close(code === 1005 ? 1000 : code, reason);
    await this.startGrace(this.ctx.getTags(socket)[0]!);
  }

  override async webSocketError(socket: WebSocket): Promise<void> {
    await this.startGrace(this.ctx.getTags(socket)[0]!);
  }

  override async alarm(): Promise<void> {
    this.clients.forget(Date.now() - this.grace);
    this.ctx.storage.sql.exec("DELETE FROM seen WHERE ends < ?", Date.now());
    await this.schedule();
  }

  private perform(op: Fields, client: string, socket: WebSocket, outbox: Outbox): void {
    switch (op["op"]) {
      case "bind":
        return this.clients.bind(client, readBinding(op));
      case "unbind":
        return this.clients.unbind(client, readBinding(op));
      case "publish": {
        const ref = op["ref"] === undefined ? undefined : integerOf(op, "ref", 2 ** 53 - 1);
        const routed = this.route(readMessage(op), outbox, op["skip_self"] === true ? client : "");
        if (ref !== undefined) outbox.add(client, { op: "ok", ref, routed });
        return;
      }
      case "watch": {
        const queue = keyOf(op, "queue");
        this.clients.watch(client, queue);
        // The hub does not know what was published before: the client is to look once.
        return outbox.add(client, { op: "wake", queue });
      }
      case "unwatch":
        return this.clients.unwatch(client, keyOf(op, "queue"));
      case "wake":
        return this.wakeWatchers(keyOf(op, "queue"), outbox);
      case "got":
        return this.reported(socket, client, integerOf(op, "frames", 2 ** 53 - 1));
      case "ping": // spelled otherwise than the one that the runtime answers without waking the hub
        return outbox.add(client, { op: "pong" });
      default:
        throw new Problem(400, "`op` is none that the hub knows.");
    }
  }

  private wakeWatchers(queue: string, outbox: Outbox): void {
    for (const client of this.clients.watchers(queue)) outbox.add(client, { op: "wake", queue });
  }

  private route({ exchange, kind, key, text }: Message, outbox: Outbox, but = ""): number {
    const routes = this.clients.route(exchange, kind, key);
    routes.delete(but);
    for (const [client, queues] of routes) {
      const delivery = { op: "deliver", queues: [...queues], exchange, key, text };
      outbox.add(client, delivery, kind === "direct");
    }
    return routes.size;
  }

  private deliver(outbox: Outbox): void {
    for (const [client, messages] of outbox.byClient) {
      const socket = this.socketOf(client);
      if (socket) this.send(socket, client, messages);
      else this.hold(client, messages);
    }
  }

  private send(socket: WebSocket, client: string, messages: Outgoing[]): void {
    const texts = messages.map(({ text }) => text);
    const frame = texts.length === 1 ? texts[0]! : `[${texts.join(",")}]`;
    const flight = inFlight(socket);
    flight.frames += 1;
    flight.messages += messages.length;
    flight.bytes += bytesIn(frame);
    if (flight.messages > MAX_UNREPORTED || flight.bytes > MAX_UNREPORTED_BYTES) {
      // The socket buffers in the hub's memory, without a bound. The client may never answer the
      // close, so it counts as away from here on.
      const sum = `${flight.messages} messages, ${flight.bytes} bytes not reported`;
      socket.close(4008, `too slow: ${sum}`);
      this.holdInFlight(client);
      this.hold(client, messages);
      this.ctx.waitUntil(this.startGrace(client));
      return;
    }
    const frames = this.unreported.get(client) ?? [];
    while (frames.length < flight.frames - 1) frames.unshift([]); // frames sent before the hub slept
    frames.push(messages.filter(({ reliable }) => reliable).map(({ text }) => text));
    this.unreported.set(client, frames);
    socket.serializeAttachment(flight);
    socket.send(frame);
  }

  private reported(socket: WebSocket, client: string, frames: number): void {
    this.unreported.get(client)?.splice(0, frames);
    takeOff(socket, frames);
  }

  /** Keep the reliable messages that a client's socket may have lost, for its next socket. */
  private holdInFlight(client: string): void {
    const lost = this.unreported.get(client)?.flat() ?? [];
    this.unreported.delete(client);
    if (lost.length) this.clients.hold(client, lost, bytesIn);
  }

  /** Keep deliveries. A wake-up or an answer is of no use later. */
  private hold(client: string, messages: Outgoing[]): void {
    const texts = messages.map(({ text }) => text);
    const deliveries = texts.filter((text) => text.startsWith('{"op":"deliver"'));
    if (deliveries.length) this.clients.hold(client, deliveries, bytesIn);
  }

  private refuse(socket: WebSocket, code: number, detail: string): void {
    socket.send(JSON.stringify({ op: "error", detail }));
    socket.close(code, detail);
    this.ctx.waitUntil(this.startGrace(this.ctx.getTags(socket)[0]!));
  }

  /** Note that a client is away, unless it has another socket. It is forgotten after its grace. */
  private async startGrace(client: string): Promise<void> {
    if (this.socketOf(client)) return;
    this.holdInFlight(client);
    this.clients.leave(client, Date.now());
    await this.schedule();
  }

  private socketOf(client: string): WebSocket | undefined {
    // The list holds closing sockets, too.
    return this.ctx.getWebSockets(client).find(({ readyState }) => readyState === WebSocket.OPEN);
  }

  /** Set the alarm to when the first signature or absent client can be forgotten. */
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

/** Read a message to publish, from an op or from a request. */
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
  // The default exchange is direct, whatever kind the caller names.
  return { exchange, kind: (exchange ? kind : "direct") as Kind, key: keyOf(fields, "key") };
}

function keyOf(fields: Fields, name: string): string {
  const value = stringOf(fields, name);
  if (bytesIn(value) > MAX_KEY_BYTES)
    throw new Problem(400, `\`${name}\` is at most ${MAX_KEY_BYTES} bytes.`);
  return value;
}

function inFlight(socket: WebSocket): InFlight {
  const none = { frames: 0, messages: 0, bytes: 0 };
  return (socket.deserializeAttachment() as InFlight | null) ?? none;
}

/** Subtract `frames` from what is in flight. Their sizes are not kept, so their average counts. */
function takeOff(socket: WebSocket, frames: number): void {
  const flight = inFlight(socket);
  const rest = Math.max(0, 1 - frames / Math.max(flight.frames, 1));
  socket.serializeAttachment({
    frames: Math.max(0, flight.frames - frames),
    messages: flight.messages * rest,
    bytes: flight.bytes * rest,
  });
}
