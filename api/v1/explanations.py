"""Explanation of a job over HTTP, for operators: its state and the causes of its wait, in sentences."""

from flask import Blueprint, Response

from api.answers import answer, read_query, services
from api.auth import Whose, require_operator, tenant, whose
from tasks.service import facts
from tasks.service.explain import explain

routes = Blueprint("explanations", __name__, url_prefix="/v1/jobs")


@routes.get("/<job_id>/explanation")
def get(job_id: str) -> Response:
    """Answers even where no keeper has reconciled with Redis, and for a damaged record."""
    require_operator()
    jobs, named = services().jobs, read_query(Whose).tenant
    explained = explain(facts.read(jobs.ledger, jobs.archive, jobs.registry, job_id, named, tenant()))
    whose(explained.tenant)  # for the audit log
    return answer(explained)
