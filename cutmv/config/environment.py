"""The environment variables that any code of CUTMV reads: what each means, and its default.

`settings` reads most of them. The transport reads its own (`CLOUDFLARE_…`, and `R2_…` for large
messages), since it is used without this package too; `media` reads those of FFmpeg. The table in
the README is this one, and a test compares both with the source.
"""

from dataclasses import asdict, dataclass

from cutmv.config.limits import Limits, variable


@dataclass(frozen=True, slots=True)
class Variable:
    """One environment variable. `meaning` and `default` are Markdown, in words for people."""

    name: str
    meaning: str
    default: str = ""

    def row(self) -> str:
        """The variable as a row of a Markdown table."""
        return f"| `{self.name}` | {self.meaning} | {self.default} |"


#: What the limits are (`limits.Limits`), by their names in lower case behind CUTMV_MAX_.
LIMIT_MEANINGS = {
    "uploads": "uploads of one client at once",
    "downloads": "downloads of one client at once",
    "sockets": "WebSockets of one client at once",
    "requests": "requests of one client a minute",
    "jobs": "jobs of one person that run at once; others wait",
    "waiting_steps": "outputs of one person's jobs that wait or are being made",
    "stored_bytes": "bytes of one person's uploads and outputs",
    "rows": "rows of the database that one person has",
    "unfinished_uploads": "uploads in parts that one person has begun and not completed",
    "steps_ahead": "steps of one person that a broker has, or that run, at once",
    "derivatives": "overviews, proxies and suggestions of one person that wait or are being made",
    "derivatives_ahead": "those of one kind that a broker has, or that are being made, at once",
    "outputs": "outputs of a job",
    "clip_seconds": "seconds of a clip",
    "job_seconds": "seconds of all outputs of a job",
    "probes": "videos that the web server looks at at once",
    "all_uploads": "uploads of all clients at once",
    "all_downloads": "downloads of all clients at once",
    "all_sockets": "WebSockets of all clients at once; never more than a quarter of the files that"
    " the process may open",
    "all_bodies": "other requests with a body, of all clients at once; one has a quarter",
    "short_requests": "short requests at once, for which threads are kept back from all others",
    "health_checks": "questions to `/healthz` at once, for each of which a thread is kept back",
    "connections": "connections without a WebSocket at once; never more than half of the files that"
    " the process may open",
}
#: What holds where nobody said, for those of them that have no number then.
UNSAID = {
    "stored_bytes": "50 GB of each who signs in; on loopback no bound",
    "rows": "100,000 of each who signs in; on loopback no bound",
}
LIMITS = tuple(
    Variable(variable(name), LIMIT_MEANINGS[name], f"{most:,}" if most else UNSAID[name])
    for name, most in asdict(Limits()).items()
)

#: All of them, in the order of the README: CUTMV's own, then the system's.
VARIABLES = (
    Variable(
        "CUTMV_MODE",
        "`cloudflare`, `redis`, `eager`, or `auto`: the first of them that is configured",
        "`auto`",
    ),
    Variable(
        "CUTMV_HOSTS",
        "names by which the web server may be reached, with commas between them, beside"
        " `localhost` and IP addresses ([who may come in](docs/deploy.md#who-may-come-in))",
    ),
    Variable(
        "CUTMV_SIGN_IN",
        "`always`: people sign in on loopback too, as behind a proxy they must; or `auto`: on"
        " other addresses alone",
        "`auto`",
    ),
    Variable(
        "CUTMV_SECOND_FACTOR",
        "who must have [a second factor](docs/deploy.md#who-may-come-in): `optional`, nobody;"
        " `administrators`; or `everybody`",
        "`optional`",
    ),
    Variable(
        "CUTMV_URL",
        "the web server's address for people, as `https://cutmv.example.com`: in links, and one of"
        " its names",
    ),
    Variable(
        "CUTMV_API_KEY",
        "the API key of `cutmv remote`, whose server `CUTMV_URL` is; no server reads it",
    ),
    Variable(
        "CUTMV_ADMIN_EMAIL",
        "the first administrator's address, in place of a link that the first start prints",
    ),
    Variable("CUTMV_ADMIN_PASSWORD", "the first administrator's password"),
    Variable(
        "CUTMV_SMTP_URL",
        "the mail server for links to sign in, new passwords and the ends of jobs, as"
        " `smtp://USER:PASSWORD@HOST:PORT` or `smtps://…`; needs `CUTMV_URL`",
    ),
    Variable("CUTMV_MAIL_FROM", "the sender of those mails", "`cutmv@` the name in `CUTMV_URL`"),
    Variable(
        "CUTMV_WEBHOOK_TARGETS",
        "where [people's webhooks](docs/webhooks.md) may lead: `public`, by `https` alone, or"
        " `any`, as on loopback",
        "`public`",
    ),
    Variable(
        "CUTMV_DATA_DIR",
        "where the database, files and work in progress are",
        "`cutmv` in `XDG_STATE_HOME`",
    ),
    Variable("CLOUDFLARE_ACCOUNT_ID", "the Cloudflare account"),
    Variable("CLOUDFLARE_API_TOKEN", "a token of the account with *Queues: Edit*"),
    Variable(
        "CLOUDFLARE_API_TOKEN_FILE",
        "a file with the token instead; a new token in it is used without a restart",
    ),
    Variable("CLOUDFLARE_QUEUE_NAME", "the queue", "`cutmv-processing`"),
    Variable("CLOUDFLARE_API_BASE_URL", "where Cloudflare's REST API is", "Cloudflare's own"),
    Variable("CLOUDFLARE_EDGE_URL", "where [the edge Worker](docs/edge.md) is (extra `.[push]`)"),
    Variable("CLOUDFLARE_EDGE_KEYS", "the edge Worker's `EDGE_KEYS`"),
    Variable(
        "CLOUDFLARE_CONSUME",
        "`pull`, or `push`: the edge Worker sends tasks to the worker (extra `.[push]`)",
        "`pull`",
    ),
    Variable(
        "CLOUDFLARE_INGRESS_HOST", "address on which a worker takes pushed tasks", "`127.0.0.1`"
    ),
    Variable("CLOUDFLARE_INGRESS_PORT", "port on which a worker takes pushed tasks", "`8788`"),
    Variable("REDIS_URL", "a Redis, as `redis://:PASSWORD@HOST:PORT/DB` (extra `.[redis]`)"),
    Variable(
        "R2_ACCESS_KEY_ID", "id of an R2 key: files are kept in R2 instead of the data directory"
    ),
    Variable("R2_SECRET_ACCESS_KEY", "the R2 key's secret"),
    Variable("R2_BUCKET", "the bucket", "`cutmv-storage`"),
    Variable(
        "CUTMV_INCOMING_PREFIX",
        "a folder of the bucket, as `incoming/`: [what others put there](docs/incoming.md) becomes"
        " uploads, and jobs",
        "none does",
    ),
    Variable(
        "CUTMV_INCOMING_PRESET",
        "the preset of the jobs of what lies there in no preset's folder",
        "it becomes uploads alone",
    ),
    Variable(
        "CUTMV_INCOMING_OWNER",
        "the address of the account whose these uploads are",
        "the administrators'",
    ),
    Variable("R2_ENDPOINT_URL", "where R2, or another S3, is", "the account's R2"),
    Variable(
        "DATABASE_URL",
        "where jobs are kept: `postgresql://…` (extra `.[postgres]`) or `sqlite:///…`",
        "SQLite in the data directory",
    ),
    Variable("WEBHOOK_URL", "where workers report progress: the address of `cutmv web`"),
    Variable(
        "WEBHOOK_SECRET",
        "the secret that signs those reports",
        "derived from `CUTMV_SECRET_KEY`",
    ),
    Variable(
        "CUTMV_SECRET_KEY",
        "what `WEBHOOK_SECRET` is derived from when it is not set",
        "a file in the data directory",
    ),
    Variable("CUTMV_MAX_RETRIES", "how often a step that failed is tried again", "3"),
    Variable("CUTMV_MAX_UPLOAD_BYTES", "the largest upload, in bytes", "10 GB"),
    Variable(
        "CUTMV_CACHE_BYTES",
        "disk space, in bytes, for what a machine has read of videos in R2; never more than half"
        " of what is free",
        "5 GB",
    ),
    Variable(
        "CUTMV_MIN_FREE_BYTES",
        "[bytes that stay free](docs/jobs.md#a-full-disk) on each disk that is written; below that,"
        " uploads and jobs are refused, and steps wait",
        "1 GiB, or 5 % of a disk under 20 GiB",
    ),
    Variable("CUTMV_RETENTION_DAYS", "how many days uploads, outputs and jobs are kept", "29"),
    Variable(
        "CUTMV_TRUSTED_PROXIES",
        "addresses and networks, with commas between them, of proxies whose `X-Forwarded-For` tells"
        " who asks ([limits](docs/limits.md))",
    ),
    *LIMITS,
    Variable(
        "CUTMV_MIN_RATE",
        "bytes a second that a client has to send or take, but for 20 seconds in all",
        "8,000",
    ),
    Variable(
        "CUTMV_MAX_FILE_SECONDS",
        "the longest video that is read, in seconds",
        "a day",
    ),
    Variable(
        "CUTMV_MAX_FILE_PACKETS",
        "the most packets of a stream that one clip or look may note",
        "5,000,000",
    ),
    Variable(
        "CUTMV_MAX_FILE_STREAMS",
        "the most streams of a file",
        "100",
    ),
    Variable(
        "CUTMV_MAX_FILE_PIXELS",
        "the most pixels of a picture",
        "132,710,400 (16K)",
    ),
    Variable(
        "CUTMV_MAX_CHILD_BYTES",
        "address space, in bytes, of a process that cuts; one that looks has a third",
        "12 GiB",
    ),
    Variable("CUTMV_FFMPEG", "the `ffmpeg` to run", "that of `PATH`, else the one installed along"),
    Variable(
        "CUTMV_SANDBOX",
        "`off` holds what reads videos by limits alone, not by"
        " [the sandbox](docs/media.md#the-sandbox)",
        "all that the kernel has",
    ),
    Variable(
        "CUTMV_LOG_FORMAT",
        "`console`, for people, or `json`: [a JSON object a line](docs/operators.md#logs)",
        "`console`",
    ),
    Variable(
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "where [traces](docs/operators.md#traces) are sent, by OTLP over HTTP (extra `.[otel]`)",
    ),
    Variable("OTEL_SERVICE_NAME", "the name of this process in them", "`cutmv`"),
    Variable("PATH", "folders in which `ffmpeg` is looked for; FFmpeg gets it too"),
    Variable("LD_LIBRARY_PATH", "passed on to FFmpeg"),
    Variable("XDG_STATE_HOME", "the folder of the data directory", "`~/.local/state`"),
    Variable("HTTPS_PROXY", "the proxy for requests to Cloudflare, to R2 and to `WEBHOOK_URL`"),
    Variable("HTTP_PROXY", "the same for addresses that start with `http://`"),
    Variable("ALL_PROXY", "the same for addresses of both kinds"),
    Variable("NO_PROXY", "hosts that are reached without a proxy"),
)
