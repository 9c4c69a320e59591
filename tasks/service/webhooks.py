"""Webhooks of a tenant's jobs: judged at submit, shown with the job, replayed; and the secrets that sign them.

It sends nothing: that is a duty of the keeper.
"""

from urllib.parse import urlsplit

from tasks.bucket.allowed import check_host
from tasks.errors import Conflict, InvalidInput, InvalidRequest
from tasks.job import Job
from tasks.ledger import Ledger
from tasks.settings import Settings
from tasks.webhook import Webhook, WebhookRequest, shown
from tasks.webhook_secrets import WebhookSecrets


class Webhooks:
    """Operations of callers on webhooks. Errors of every method: NotReady where Redis is away."""

    def __init__(self, settings: Settings, ledger: Ledger) -> None:
        self.settings, self.ledger = settings, ledger
        self.secrets = WebhookSecrets(settings.webhook_secrets_file())

    def check(self, tenant: str, wanted: WebhookRequest) -> WebhookRequest:
        """The webhook of a submit. Errors: InvalidRequest where its host may not be reached, or no secret signs it."""
        try:
            check_host(urlsplit(wanted.url), self.settings)
        except InvalidInput as error:
            raise InvalidRequest([{"pointer": "/webhook/url", "detail": error.detail}]) from error
        if not self.secrets.of(tenant):
            told = "there is no secret to sign webhooks yet; make one with POST /v1/webhooks/secret"
            raise InvalidRequest([{"pointer": "/webhook", "detail": told}])
        return wanted

    def with_state(self, job: Job) -> Job:
        """A job from the bucket with the state of its webhook, where Redis has one."""
        if job.webhook is None:
            return job
        state = self.ledger.webhook_state(job.tenant, job.id)
        kept = Webhook.model_validate(shown(job.webhook.url, job.webhook.events, state))
        return job.model_copy(update={"webhook": kept})

    def replay(self, job: Job) -> None:
        """Sends the webhook of an ended job again, with the same id. Errors: Conflict where there is none to send."""
        if job.webhook is None:
            raise Conflict(f"job {job.id} has no webhook")
        self.ledger.replay_webhook(job.tenant, job.id)
