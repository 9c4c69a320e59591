"""The routes of webhooks, as the table of routes has them (operations.py)."""

from api.examples import DEFAULT_WEBHOOK
from api.operation import Operation

WEBHOOKS = (
    Operation(
        "get",
        "/v1/webhooks/secret",
        "Read the signing secrets",
        "Answers with the secrets that sign the tenant's webhooks by Standard Webhooks, the newest first.",
        {200: "WebhookSecrets"},
        (422,),
    ),
    Operation(
        "post",
        "/v1/webhooks/secret",
        "Make or rotate the signing secret",
        "Makes a new secret. The one before it stays valid for a day, in which every message carries a signature by "
        "each; any older one ends at once. A job with a `webhook` needs a secret to exist. After a lost answer read "
        "the secrets before this is sent again.",
        {201: "WebhookSecrets"},
        (422,),
    ),
    Operation(
        "get",
        "/v1/webhooks/default",
        "Read the default webhook",
        "Answers with the webhook of the tenant's jobs that name none.",
        {200: "WebhookDefault"},
        (422,),
    ),
    Operation(
        "put",
        "/v1/webhooks/default",
        "Set the default webhook",
        "Sets the webhook of jobs that leave out `webhook`; one that sends null has none. It holds within a second for "
        "jobs that are submitted from then on, and not for batches and their lines.",
        {200: "WebhookDefault"},
        (400, 413, 415, 422),
        "WebhookRequest",
        (),
        DEFAULT_WEBHOOK,
    ),
    Operation(
        "delete",
        "/v1/webhooks/default",
        "Remove the default webhook",
        "Jobs that are submitted from then on and name no webhook have none.",
        {204: None},
        (422,),
    ),
)
