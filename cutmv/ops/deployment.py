"""The transport's options and client, as a worker of the deployment would have them."""

from cutmv.config import Settings, celery_config
from cutmv.transports.cloudflare.api import Client, Credentials
from cutmv.transports.cloudflare.options import Options


def options_of(settings: Settings) -> Options | None:
    """The transport's options for these settings; None in other modes. Raises KombuError."""
    if settings.mode != "cloudflare":
        return None
    return Options.read(celery_config(settings)["broker_transport_options"])


def client_of(settings: Settings, options: Options) -> Client:
    """A client of the account's Queues API; its caller closes it."""
    return Client(Credentials.read(settings.account_id, settings.api_token), options)
