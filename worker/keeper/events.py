"""Trims the event stream to the age and the length that the settings allow. It reads no entry."""

from tasks.ledger import keys
from tasks.ledger.client import Client
from tasks.settings import Settings


def trim(client: Client, settings: Settings) -> None:
    """Removes whole nodes of the stream (100 entries), 10,000 entries a call at most. Errors: RedisError."""
    seconds, _ = client.time()
    client.xtrim(keys.EVENTS, minid=str(max(0, round((seconds - settings.events_s) * 1000))))
    client.xtrim(keys.EVENTS, settings.events_max)
