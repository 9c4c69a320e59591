"""Keys of jobs that ask for the same work (`cache`), of one tenant; a part of keys.py, which shows them."""


def same(tenant: str, digest: str) -> str:
    """zset: living jobs that ask for the same work, in the order in which they came; the first leads. Written by cite;
    the ends remove them."""
    return f"bl:same:{tenant}:{digest}"


def cached(tenant: str, digest: str) -> str:
    """hash: `ran`, the job that did the work last, and `last`, the one with its result that is kept longest. Written by
    the ends; as long as `last` is kept."""
    return f"bl:cached:{tenant}:{digest}"


def cited(tenant: str, job_id: str) -> str:
    """set: jobs that list the outputs of this one, and '-' once it was erased. Written by cite; let_go removes them."""
    return f"bl:cited:{tenant}:{job_id}"


def citing(tenant: str) -> str:
    """hash: job -> '<job>/<folder>' of another's outputs that it lists. Written by cite; let_go removes them."""
    return f"bl:citing:{tenant}"
