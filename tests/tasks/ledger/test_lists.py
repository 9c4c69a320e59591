"""Lists of verbs, each done in one trip, against the plain model: random histories, whole lists sent again, and a fault
in the middle of a list.
"""

import random

import pytest

from tasks.errors import LedgerFault, ModelFailed
from tasks.ledger import Ledger, connect, keys
from tests.conftest import PATIENT_S, make_fixed
from tests.tasks.ledger.conftest import AWAY
from tests.tasks.ledger.test_machine import LATE, MODELS, SLOTS, WORKERS, LedgerMachine, _or_error

STEPS_A_HISTORY = 250
LIST_MAX = 6
LOOK_EVERY = 8
"""Lists between two comparisons of every key with the model."""


class Noted(Exception):
    """The call is in the list."""


class Listed(Ledger):
    """A ledger that can do what its methods ask together, in one trip."""

    calls = reply = None

    def together(self, asks, independent=False):
        """The answer to each, or its fault; fewer answers than asks where a fault ended the list."""
        self.calls = []
        for ask in asks:
            with pytest.raises(Noted):
                ask()
        calls, self.calls = self.calls, None
        answers = []
        for ask, self.reply in zip(asks, super()._replies(calls, independent), strict=False):
            try:
                answers.append(ask())
            except LedgerFault as fault:
                answers.append(fault)
        self.reply = None
        return answers

    def _replies(self, calls, independent=False):
        if self.calls is not None:
            self.calls += calls
            raise Noted
        return [self.reply] if self.reply else super()._replies(calls, independent)


class ListsMachine(LedgerMachine):
    """Its steps gather in a list, which goes in one trip; time passes between lists alone."""

    def __init__(self, ledger, clock, chance):
        super().__init__(ledger, clock)
        self.chance, self.list, self.lists, self.most = chance, [], 0, LIST_MAX

    def do(self, verb, *arguments):
        if verb == "submit" and ("forget", arguments[0].id) in self.list:
            return  # an erased job is submitted no more
        self.calls.append((verb, *arguments))
        self.list.append((verb, *arguments))
        if len(self.list) >= self.chance.randint(1, self.most):
            self.send()
            while self.chance.random() < 0.1:  # its reply was lost
                self.list = [c for c in self.last if c[0] != "submit" or c[1].id not in self.model.forgotten]
                self.send()

    def send(self):
        """Every answer must be the model's, asked in the same order."""
        self.last, self.list = self.list, []
        answers = self.ledger.together([self._ask(*call) for call in self.last], self.chance.random() < 0.5)
        assert answers == [self._expected(*call) for call in self.last], self.last
        for (verb, *arguments), answer in zip(self.last, answers, strict=True):
            if verb == "claim" and answer and (answer, arguments[1]) not in self.tokens:
                self.tokens.append((answer, arguments[1]))
        self.lists += 1
        if self.lists % LOOK_EVERY == 0:
            self.look()

    def look(self):
        self.every_record_is_as_the_model_says()
        self.every_index_agrees_with_the_records()
        self.tenants_accounts_hold_what_waits_and_nothing_else()
        self.batches_count_their_jobs()

    def _ask(self, verb, *a):
        ledger = self.ledger
        return {
            "submit": lambda: ledger.submit(*a).job_id,
            "claim": lambda: (got := ledger.claim(_worker(a[0]), *a)) and got.fixed.id,
            "commit": lambda: ledger.commit(*a, {"text": a[1]}, [], {}),
            "fail": lambda: ledger.fail(*a[:2], AWAY if a[2] else ModelFailed("boom"), a[3]),
            "release": lambda: ledger.release(*a),
            "report": lambda: ledger.report(*a, "running", 0.5),
            "cancel": lambda: _or_error(lambda: ledger.cancel(self._tenant(a[0]), a[0])),
            "amend": lambda: _or_error(lambda: ledger.amend(*a)),
            "forget": lambda: _or_error(lambda: ledger.forget(make_fixed(id=a[0], tenant=self._tenant(a[0])))),
            "renew": lambda: {held.slot: held.state for held in ledger.renew(WORKERS[a[0]])[1]},
            "sweep": lambda: (ledger.sweep("cpu"), None)[1],
            "due": lambda: (ledger.due(), None)[1],
            "expire": lambda: set(ledger.expire(LATE)),
        }[verb]

    def _expected(self, verb, *a):
        if verb == "claim":
            return self.model.claim(_worker(a[0]).lines, *a)
        if verb == "fail":
            return self.model.fail(*a[:3], a[3] * 1000)
        answer = getattr(self.model, verb)(*a)
        return None if verb in ("sweep", "due") else answer

    def _forward(self, seconds):
        if self.list:
            self.send()
        super()._forward(seconds)

    def step(self):
        """One of the machine's rules, as often as a busy service has it. Without drains, after three of which a job is
        passed by young workers: that is not in the model."""
        pick, which = self.chance.choice, self.chance.randrange(1000)
        rules = [
            (8, lambda: self.submit(pick([None, None, None, 0.5, 30]), pick(list(MODELS)), which, **self._chosen())),
            (9, lambda: self.claim(pick(SLOTS))),
            (1, lambda: self.claim_that_is_delayed(pick(SLOTS))),
            (1, lambda: self.delayed and self.delivery(which)),
            (7, lambda: self.tokens and self.commit(which)),
            (2, lambda: self.tokens and self.fail(which, pick([True, False]), pick([0, 0, 3, 50]))),
            (2, lambda: self.tokens and self.release(which, pick(["own", "neighbour"]))),
            (1, lambda: self.tokens and self.report(which)),
            (1, lambda: self.tokens and self.claim_again(which)),
            (1, lambda: self.submitted and self.cancel(which)),
            (1, lambda: self.submitted and self.forget(which)),
            (
                2,
                lambda: (
                    self.submitted
                    and self.amend(which, pick([-1, 0, 0, 0.5, 30]), pick([True, False]), **self._other())
                ),
            ),
            (2, lambda: self.renew(pick(list(WORKERS)))),
            (1, lambda: self.time_passes(pick([0.001, 0.5, 1, 4, 11, 100]))),
            (1, lambda: self.keeper_runs(pick([1, 1, 12]))),
            (3, lambda: self.calls and self.again(which, pick([True, False]))),
        ]
        self.chance.choices([rule for _, rule in rules], [weight for weight, _ in rules])[0]()

    def _chosen(self):
        pick = self.chance.choice
        return {
            "tenant": pick("abc"),
            "batch": pick([None, None, "batch_x"]),
            "priority": pick([0, 0, 0, 1, -1, 10, -10]),
            "queue_ttl_s": pick([3600, 3600, 5]),
            "deadline_s": pick([None, None, 8, 40]),
            "max_attempts": pick([1, 2, 3]),
            "retry": pick([{}, {}, {"worker_lost": 2}, {"model_failed": 1, "storage_unavailable": 0}]),
        }

    def _other(self):
        pick = self.chance.choice
        return {"priority": pick([-10, 0, 3]), "queue_ttl_s": pick([3600, 5]), "deadline_s": pick([None, 40])}

    def finish(self):
        if self.list:
            self.send()
        self.most = 1
        self.teardown()


def _worker(slot):
    return WORKERS[slot.partition(":")[0]]


@pytest.fixture
def listed(ledger, settings, clock):
    return Listed(settings, connect(settings, read_timeout_s=PATIENT_S), clock)


def histories(listed, clock, seed, steps):
    """So many random steps, in histories that each begin with an empty ledger; the lists that went."""
    chance, lists = random.Random(seed), 0
    for _ in range(0, steps, STEPS_A_HISTORY):
        machine = ListsMachine(listed, clock, chance)
        machine.begin()
        for _ in range(STEPS_A_HISTORY):
            machine.step()
        machine.finish()
        lists += machine.lists
    return lists


def test_lists_do_what_the_model_says(listed, clock):
    assert histories(listed, clock, seed=7, steps=500) > 100


def test_scripts_do_what_the_model_says_too(settings_as_user, clock, ledger):
    """They take the Function's place where the server, or its user's rights, have none."""
    limited, before = settings_as_user("-fcall"), ledger.redis.info("commandstats")["cmdstat_fcall"]["calls"]
    listed = Listed(limited, connect(limited, read_timeout_s=PATIENT_S), clock)
    assert histories(listed, clock, seed=8, steps=250) > 50
    assert ledger.redis.info("commandstats")["cmdstat_fcall"]["calls"] == before


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_lists_do_what_the_model_says_in_a_hundred_thousand_steps(listed, clock):
    lists = histories(listed, clock, seed=22, steps=100_000)
    print(f"100,000 steps in {lists:,} lists")


def test_no_claim_follows_a_commit_that_failed(listed, desk):
    """A claim hands back the job of its slot: behind a commit that failed it would run the finished job again."""
    claimed, waiting = desk.running(), desk.submit()
    listed.redis.hset(keys.job(claimed.fixed.id), "max", "milk")
    answers = listed.together(
        [
            lambda: listed.commit(claimed.fixed.id, claimed.token, {"text": "x"}, [], {}),
            lambda: listed.claim(desk.worker, claimed.record["slot"], desk.token()),
        ]
    )
    assert [type(answer) for answer in answers] == [LedgerFault]
    assert desk.line() == [waiting.id] and desk.status(claimed) == "running"


def test_a_fault_ends_no_independent_call(listed, desk):
    """Each submit of a bulk is recorded or refused by itself."""
    jobs = [make_fixed(), make_fixed(tenant="broken"), make_fixed()]
    listed.redis.set(keys.tenant_jobs("broken"), "milk")
    asks = [lambda job=job: listed.submit(job).job_id for job in jobs]
    first, second, third = listed.together(asks, independent=True)
    assert (first, third) == (jobs[0].id, jobs[2].id) and isinstance(second, LedgerFault)
    assert desk.line() == [jobs[0].id, jobs[2].id]
