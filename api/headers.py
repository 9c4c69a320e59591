"""Security headers, CORS headers and the Bearer challenge, as plain dicts. Knows neither Flask nor the server.

`SAFE` belongs on every answer, the server's own refusals included. `cors` adds the headers that let pages of other
origins read an answer, where the operator allows the origin.
"""

from collections.abc import Collection

SAFE = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
}
REQUEST_HEADERS = "Authorization, Content-Type, Idempotency-Key, Last-Event-ID, Prefer"
"""Request headers that a page may set, beside those that CORS always allows."""
EXPOSED_HEADERS = (
    "Location, Retry-After, RateLimit, RateLimit-Policy, Preference-Applied, Idempotency-Replayed, Batch-Accepted, "
    "Batch-Refused, "
    "WWW-Authenticate, Allow"
)
"""Headers of an answer that a page may read."""
METHODS = "GET, HEAD, POST, PUT, PATCH, DELETE"
PREFLIGHT_S = 600
"""Seconds for which a browser may cache a preflight."""


def cors(allowed: Collection[str], origin: str | None) -> dict[str, str]:
    """CORS headers that let a page of `origin` read the answer. `allowed` holds origins, or `*` for any.

    Credentials are never allowed: the key travels in a header that a page sets itself.
    """
    if not allowed:
        return {}
    if "*" in allowed:
        return {"Access-Control-Allow-Origin": "*", "Access-Control-Expose-Headers": EXPOSED_HEADERS}
    vary = {"Vary": "Origin"}
    if origin is None or origin not in allowed:
        return vary
    return {"Access-Control-Allow-Origin": origin, "Access-Control-Expose-Headers": EXPOSED_HEADERS, **vary}


def preflight(allowed: Collection[str], origin: str | None) -> dict[str, str]:
    """CORS headers of the answer to a preflight. An origin that is not allowed gets none that allow anything."""
    answer = cors(allowed, origin)
    if "Access-Control-Allow-Origin" in answer:
        answer |= {
            "Access-Control-Allow-Methods": METHODS,
            "Access-Control-Allow-Headers": REQUEST_HEADERS,
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
