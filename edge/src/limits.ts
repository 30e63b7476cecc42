/**
 * Every bound of the Worker, with its unit.
 *
 * Some of them hold on both sides of the wire: tests/unit/test_shared_limits.py compares those with
 * the transport's own, by these names. Each value is a number, or a product of numbers.
 */

// Cloudflare Queues

/** Bytes of one message, with its metadata. */
export const MAX_MESSAGE_BYTES = 128_000;
/** Bytes of one batch, with the metadata of each message. */
export const MAX_BATCH_BYTES = 256_000;
/** Bytes that Cloudflare counts for the metadata of one message. */
export const METADATA_BYTES = 100;
/** Messages in one batch. */
export const MAX_BATCH_MESSAGES = 100;
/** Seconds by which Cloudflare delays a message at most: 12 hours. */
export const MAX_DELAY_S = 43_200;

// Signed requests

/** Seconds by which a timestamp may differ from the clock, either way. */
export const TOLERANCE_S = 300;
/** Bytes of a key, at least, but between processes of one machine. */
export const MIN_KEY_BYTES = 24;
/** Seconds for which the id of a batch is kept that a push server took: all clocks may differ. */
export const ACCEPTED_KEEP_S = 3 * TOLERANCE_S;
/** Bytes of a request's body: 256 KB of messages, most of whose characters JSON escapes. */
export const MAX_BODY_BYTES = 1_048_576;
/** Signatures of one request that are checked. */
export const MAX_SIGNATURES = 8;
/** Characters of a webhook-id. */
export const MAX_WEBHOOK_ID = 255;

// The push consumer

/** Seconds between two heartbeats of the push server. */
export const HEARTBEAT_S = 10;
/** Seconds without a byte after which a connection counts as broken. */
export const IDLE_S = 4 * HEARTBEAT_S;
/** Seconds for a batch. The platform ends the handler at 900, and then applies no outcome. */
export const WALL_S = 870;
/** Attempts after which a message that no worker takes is sent anew, before its retries run out. */
export const ANEW_AFTER = 50;
/** Times that an invocation posts at most: Cloudflare's free plan allows 50 requests. */
export const MAX_POSTS = 45;
/** Seconds in which a post must not end without an outcome, else the next one comes after a pause. */
export const BRIEF_S = 1;
/** Seconds between two posts, at most. */
export const MAX_PAUSE_S = 5;
/** Seconds for which an invocation asks push servers that do not answer. */
export const AWAY_S = 120;
/** Seconds until a message comes again whose push servers did not answer for AWAY_S. */
export const AWAY_DELAY_S = 10;
/** Seconds until a message comes again for which no worker has room; a push server says so itself. */
export const BUSY_DELAY_S = 5;
/** Times in a row that an invocation asks in vain for the worker that has its message. */
export const REJOINS = 3;
/** Seconds until a message comes again whose worker can't be reached any more. */
export const BROKEN_DELAY_S = 5;
/** Seconds until a message comes again whose batch took longer than WALL_S. */
export const WALL_DELAY_S = 30;
/** Seconds for a push server to answer a check. */
export const CHECK_S = 10;

// The lease ledger

/** Bytes of a record's key. */
export const MAX_LEDGER_KEY_BYTES = 512;
/** Bytes of a record's entry, as JSON. */
export const MAX_ENTRY_BYTES = 1_024;
/** Consumers that were lost with a message, as a record counts them. */
export const MAX_LOSSES = 1_000_000;
/** Seconds for which a record is kept after its last write: 15 days, and no message lives longer. */
export const RECORD_KEEP_S = 1_296_000;
/** Seconds between two sweeps of old records. */
export const LEDGER_SWEEP_S = 3_600;
/** Objects that share the records. Another number would lose sight of the records that there are. */
export const LEDGER_SHARDS = 16;

// Results

/** Objects that share the results. Another number would lose sight of the results that there are. */
export const RESULT_SHARDS = 16;
/** Operations of one call. */
export const MAX_RESULT_OPS = 1_000;
/** Bytes of a result's key, a chord's key and a part's name, each. */
export const MAX_RESULT_KEY_BYTES = 512;
/** Characters of a value in an operation; a larger one is an object in the bucket. */
export const MAX_VALUE = 262_144;
/** Bytes of a value in the bucket. The Worker holds it three times, and has 128 MB. */
export const MAX_LARGE_BYTES = 16 * 1_048_576;
/** Characters of a value that is pushed to who waits for it; a longer one is read. */
export const MAX_PUSHED_VALUE = 65_536;
/** Characters of one object's values in one answer; the caller asks again for the rest. */
export const MAX_ANSWER = 1_048_576;
/** Seconds for which a result is kept at most: ten years. */
export const MAX_KEEP_S = 315_360_000;
/** Seconds for which who waits is told of a result; a client that goes on waiting says so anew. */
export const WATCH_S = 180;
/** Seconds for a value in the bucket to become a result's, after which it is deleted. */
export const LARGE_GRACE_S = 3_600;
/** Notes of one answer: each has a name and a value of 512 characters at most. */
export const MAX_NOTES = 1_000;
/** Seconds between two sweeps of what has expired. */
export const RESULTS_SWEEP_S = 600;
/** Objects of the bucket that one sweep deletes: those that R2 takes in one call. */
export const MAX_SWEPT_OBJECTS = 1_000;

// The hub

/** Bytes of a client's id: those of a WebSocket's tag. */
export const MAX_CLIENT_ID_BYTES = 256;
/** Bytes of one frame from a client. */
export const MAX_FRAME_BYTES = 1_048_576;
/** Bytes of an exchange's name, a routing key and a queue's name, each. */
export const MAX_KEY_BYTES = 255;
/** Seconds for which a client may be away and keep its bindings. */
export const GRACE_S = 60;
/** Seconds between two sweeps that forget signatures, while there are any. */
export const SWEEP_S = 60;
/** Bindings, queues and watches that one client may have of each. */
export const MAX_ENTRIES = 1_000;
/** Messages kept for a client that is away. Past it the oldest is dropped and counted. */
export const MAX_HELD = 1_000;
/** Bytes of the messages kept for a client that is away. Past it the oldest is dropped and counted. */
export const MAX_HELD_BYTES = 1_048_576;
/** Messages on their way to a client that it has not reported. Past it its socket is closed. */
export const MAX_UNREPORTED = 10_000;
/** Bytes on their way to a client that it has not reported. Past it its socket is closed. */
export const MAX_UNREPORTED_BYTES = 4 * 1_048_576;

// Containers

/** Containers at most, where CONTAINERS does not say. */
export const CONTAINERS = 3;
/** Seconds without a task after which a container sleeps. */
export const SLEEP_AFTER_S = 120;
/** Seconds for which a container is left alone that refused a message, at most. */
export const MAX_REFUSED_S = 30;
/** Seconds after which a slot is free again whose holder gave no word: no invocation lives longer. */
export const SLOT_KEEP_S = 960;
/** Seconds that a container has to start, and to take requests. */
export const CONTAINER_START_S = 120;
/** Seconds that a container has to end when it is told to, before it is killed. */
export const CONTAINER_END_S = 900;
/** The push server's port in a container. */
export const CONTAINER_PORT = 8788;
/** The web server's port in its container. */
export const SITE_PORT = 8000;
/** Seconds for which a request waits for the web server's end, where it comes as that ends. */
export const SITE_END_S = 30;
/** Seconds without a request after which the web server's container sleeps. */
export const SITE_SLEEP_AFTER_S = 600;
