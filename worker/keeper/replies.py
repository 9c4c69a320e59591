"""Replies of Redis as text. The keeper's client decodes every reply, which redis-py's types do not tell.

It knows neither keys nor commands.
"""

from collections.abc import Iterable


def text(reply: object) -> str:
    """The reply as it is. Errors: TypeError where the client does not decode."""
    if not isinstance(reply, str):
        raise TypeError(f"Redis replied {type(reply).__name__}, not text")
    return reply


def texts(replies: Iterable[object]) -> list[str]:
    """All replies, in order. Errors: TypeError where the client does not decode."""
    return [text(reply) for reply in replies]


def text_or(reply: object, default: str) -> str:
    """The reply; `default` where the key or field is absent. Errors: TypeError where the client does not decode."""
    return default if reply is None else text(reply)
