"""The honest tenant itself: without it the other files would prove nothing."""


def test_an_honest_tenant_sees_its_jobs_succeed(town):
    """Alone, without an error."""
    seen = town.honest.alone()
    assert seen.jobs and not seen.errors
    assert seen.quantile_ms("requests_ms", 0.5) <= seen.quantile_ms("requests_ms", 0.95)


def test_an_honest_tenant_sees_what_goes_wrong(town):
    """A server that is not there is an error a request, and no job."""
    honest = type(town.honest)("http://127.0.0.1:9", "no-key")
    seen = honest.alone()
    assert seen.errors and not seen.jobs
