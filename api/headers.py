"""The headers of every answer, for a browser that may be on the other side. It knows neither Flask nor the server.

`SAFE` belongs on whatever leaves the process, the server's own refusals included; `cors` adds what a page of another
origin needs, where the operator has named that origin.
"""

from collections.abc import Collection

SAFE = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
}
SENT = "Authorization, Content-Type, Idempotency-Key, Prefer"
"""Headers that a page may send beside those that every page may."""
SEEN = (
    "Location, Retry-After, RateLimit, RateLimit-Policy, Preference-Applied, Idempotency-Replayed, "
    "WWW-Authenticate, Allow"
)
"""Headers of an answer that a page may read."""
METHODS = "GET, HEAD, POST, PUT, PATCH, DELETE"
PREFLIGHT_S = 600


def cors(allowed: Collection[str], origin: str | None) -> dict[str, str]:
    """Headers that let a page of `origin` read the answer; `allowed` holds origins, or `*` for any.

    Never with credentials: a key travels in a header that a page must set itself, so a browser has none to add.
    """
    if not allowed:
        return {}
    if "*" in allowed:
        return {"Access-Control-Allow-Origin": "*", "Access-Control-Expose-Headers": SEEN}
    named = {"Access-Control-Allow-Origin": origin, "Access-Control-Expose-Headers": SEEN} if origin in allowed else {}
    return {**named, "Vary": "Origin"}


def preflight(allowed: Collection[str], origin: str | None) -> dict[str, str]:
    """Headers of the answer to a browser's question before the request; none that allows where the origin is not."""
    answer = cors(allowed, origin)
    if "Access-Control-Allow-Origin" in answer:
        answer |= {
            "Access-Control-Allow-Methods": METHODS,
            "Access-Control-Allow-Headers": SENT,
            "Access-Control-Max-Age": str(PREFLIGHT_S),
        }
        del answer["Access-Control-Expose-Headers"]
    return answer


def challenge(error: str | None = None, description: str = "") -> dict[str, str]:
    """The Bearer challenge of a 401 or 403 (RFC 6750, section 3). `error` None: no key was shown."""
    if error is None:
        return {"WWW-Authenticate": 'Bearer realm="backlot"'}
    plain = "".join(c if c.isascii() and c.isprintable() and c not in '"\\\\' else "'" for c in description)
    return {"WWW-Authenticate": f'Bearer realm="backlot", error="{error}", error_description="{plain}"'}
