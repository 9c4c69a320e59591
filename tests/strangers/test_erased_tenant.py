"""All of a tenant is erased while another works: nothing of it is left in Redis or the bucket but the receipt."""

import json
import time

import httpx

from api import keyfile
from tasks.bucket.storage import Storage
from tests.stack import until

PROMPT = {"kind": "generate", "input": {"prompt": "a secret of the stranger"}}


def test_all_of_a_tenant_goes_and_the_other_sees_nothing_of_it(town):
    """Jobs in every status, outputs, an upload, an Idempotency-Key; a job that runs is canceled first."""
    storage, operator = Storage(town.stack.settings), town.client_of(town.operator_key)
    redis = town.stack.redis()
    put_aside(storage)
    with town.client as client, town.honest.beside("a tenant that is erased") as seen:
        leave_traces(client)
        assert operator.delete("/v1/tenants/stranger").status_code == 409, "it has a key yet"
        assert client.delete("/v1/tenants/stranger").status_code == 403
        assert keyfile.remove_tenant(town.stack.settings.keys_file, "stranger")
        until(lambda: client.get("/v1/jobs").status_code == 401, what="the key is refused")
        asked = until(lambda: (answer := operator.delete("/v1/tenants/stranger")).status_code == 202 and answer)
        assert asked.headers["Location"] == "/v1/tenants/stranger/erasure"
        receipt = until(lambda: (found := operator.get("/v1/tenants/stranger/erasure").json())["done"] and found, 60)
    assert not seen.errors
    assert receipt["jobs"] >= 4 and receipt["objects"] >= 2 and receipt["bytes"] > 0 and receipt["journal_entries"]
    for name in redis.scan_iter():
        assert "stranger" not in name, name
    for index in ("bl:uploads", "bl:trash", "bl:archived", "bl:tombstones"):
        assert not [member for member in redis.zrange(index, 0, -1) if "stranger" in member], index
    left = [one.key for one in storage.list("")]
    assert [key for key in left if "stranger" in key] == [f"erasures/stranger/{receipt['id']}.json"]
    for key in left:
        if key.startswith("journal/"):
            assert b"a secret of the stranger" not in storage.get_bytes(key), key
    assert b"a secret of the honest" in storage.get_bytes("journal/unreadable/1-1-2-2.jsonl")
    assert operator.get("/v1/tenants/honest/erasure").status_code == 404
    assert operator.delete("/v1/tenants/Not-One").status_code == 422


def put_aside(storage: Storage) -> None:
    """What the keeper could not read of both."""

    def entry(tenant: str) -> bytes:
        fixed = json.dumps({"tenant": tenant, "input": f"a secret of the {tenant}"})
        return json.dumps({"sid": "1-1", "type": "accepted", "id": "job_1", "fixed": fixed}).encode()

    storage.put_bytes("journal/unreadable/1-1.json", entry("stranger"), "application/json")
    lines = [entry(tenant)[:-2] for tenant in ("honest", "stranger")]
    storage.put_bytes("journal/unreadable/1-1-2-2.jsonl", b"\n".join(lines), "application/json")


def leave_traces(client: httpx.Client) -> None:
    done = client.post("/v1/jobs", json=PROMPT | {"model": "cpu-files"}, headers={"Prefer": "wait=20"}).json()
    until(lambda: client.get(f"/v1/jobs/{done['id']}").json()["status"] == "succeeded", 30)
    running = client.post("/v1/jobs", json=PROMPT | {"model": "cpu-sleep", "input": {"prompt": "60"}}).json()
    until(lambda: client.get(f"/v1/jobs/{running['id']}").json()["status"] == "running", 30)
    assert client.post("/v1/jobs", json=PROMPT, headers={"Idempotency-Key": "once"}).status_code == 202
    later = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3600))
    assert client.post("/v1/jobs", json=PROMPT | {"start_at": later}).json()["status"] == "scheduled"
    link = client.post("/v1/uploads", json={"name": "a.txt", "bytes": 6}).json()
    assert httpx.put(link["url"], content=b"secret", trust_env=False).status_code == 200
    form = {"kind": (None, "generate"), "prompt": ("p.txt", json.dumps("a secret of the stranger"))}
    assert client.post("/v1/jobs", files=form).status_code == 202
