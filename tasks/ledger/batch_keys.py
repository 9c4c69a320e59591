"""Keys of batches of jobs, of one tenant; a part of keys.py, which shows them."""


def batch(tenant: str, batch_id: str) -> str:
    """hash: id, tenant, lines, last, created_ms, sealed_ms, canceled_ms, ended_ms, ...; and by status the number of its
    jobs (tasks/batch.py). Written by open_batch, note_batch and with each member's status; the keeper deletes it.
    """
    return f"bl:batch:{tenant}:{batch_id}"


def batch_lines(tenant: str, batch_id: str) -> str:
    """string: a character a line of the batch, at its number (bulk.py). Written by the API; goes with the batch."""
    return f"bl:batch:{tenant}:{batch_id}:lines"


def batch_refusals(tenant: str, batch_id: str) -> str:
    """hash: number of a refused line -> JSON of the refusal, of the first 1,000. Written by the API, goes with the
    batch."""
    return f"bl:batch:{tenant}:{batch_id}:refusals"


def tenant_batches(tenant: str) -> str:
    """zset: the tenant's batches by the ms of their creation. Written by open_batch; the keeper removes them."""
    return f"bl:batches:{tenant}"


def receiving(tenant: str) -> str:
    """hash: batch that is being received -> its lines, which count as waiting. Written by open_batch, removed by
    note_batch."""
    return f"bl:receiving:{tenant}"
