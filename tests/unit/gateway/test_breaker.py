"""A breaker against a model of it, over any order of calls, ends and times."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, precondition, rule

from telelink_gateway.upstream.breaker import FAILURE_RATE, MIN_CALLS, OPEN_S, WINDOW_CALLS, WINDOW_S, Breaker

OUTCOMES = st.sampled_from([True, True, False, False, False, None])


class BreakerMachine(RuleBasedStateMachine):
    """The model: which calls ended how and when since it last closed, and which probe is under way."""

    def __init__(self):
        super().__init__()
        self.now = 100.0
        self.seen = []
        self.breaker = Breaker(self.seen.append)
        self.state = "closed"
        self.wanted = []
        self.ended = []
        self.opened_at = None
        self.period = 0

    tickets = Bundle("tickets")
    probes = Bundle("probes")

    def _to(self, state):
        self.state = state
        self.wanted.append(state)
        self.period += 1

    def _open(self):
        self.opened_at = self.now
        self._to("open")

    @rule(seconds=st.one_of(st.sampled_from([0.0, OPEN_S / 2, OPEN_S, WINDOW_S]), st.floats(0, 40)))
    def time_passes(self, seconds):
        self.now += seconds

    @rule(target=tickets)
    def a_call_is_wanted(self):
        ticket = self.breaker.admit()
        assert (ticket is not None) == (self.state == "closed")
        return ticket, self.period

    @rule(ended=consumes(tickets), outcome=OUTCOMES)
    def a_call_ends(self, ended, outcome):
        ticket, period = ended
        if ticket is None:
            return
        self.breaker.record(ticket, outcome, self.now)
        if period != self.period or outcome is None:
            return
        self.ended.append((self.now, outcome))
        recent = [well for at, well in self.ended[-WINDOW_CALLS:] if at >= self.now - WINDOW_S]
        if not outcome and len(recent) >= MIN_CALLS and recent.count(False) / len(recent) >= FAILURE_RATE:
            self._open()

    @precondition(lambda self: self.state == "closed")
    @rule(n_calls=st.integers(1, WINDOW_CALLS), outcome=st.booleans())
    def several_calls_end_alike(self, n_calls, outcome):
        for ended in [self.a_call_is_wanted_now() for _ in range(n_calls)]:
            self.a_call_ends(ended, outcome)

    def a_call_is_wanted_now(self):
        return self.breaker.admit(), self.period

    @rule(target=probes)
    def a_probe_is_wanted(self):
        is_due = self.state == "open" and self.now >= self.opened_at + OPEN_S
        ticket = self.breaker.admit_probe(self.now)
        assert (ticket is not None) == is_due
        if is_due:
            self._to("half-open")
        return ticket, self.period

    @rule(probe=consumes(probes), outcome=OUTCOMES)
    def a_probe_ends_or_is_cancelled(self, probe, outcome):
        ticket, period = probe
        if ticket is None:
            return
        self.breaker.record(ticket, outcome, self.now)
        if period != self.period:
            return
        if outcome:
            self.ended = []
            self._to("closed")
        else:
            self._open()

    @rule(probe=probes, outcome=OUTCOMES)
    def a_probe_that_has_ended_ends_again(self, probe, outcome):
        ticket, period = probe
        if ticket is not None and period != self.period:
            self.breaker.record(ticket, outcome, self.now)

    @invariant()
    def it_is_as_the_model_says(self):
        assert self.breaker.state == self.state
        assert self.seen == self.wanted

    @invariant()
    def while_a_probe_is_under_way_nothing_else_is(self):
        if self.state == "half-open":
            assert self.breaker.admit() is None
            assert self.breaker.admit_probe(self.now + 1e6) is None

    @invariant()
    def an_open_one_is_never_stuck(self):
        if self.state == "open":
            assert self.breaker.probe_from <= self.now + OPEN_S


BreakerMachine.TestCase.settings = settings(max_examples=200, stateful_step_count=60, deadline=None)
TestBreaker = BreakerMachine.TestCase


def after(outcomes, *, apart_s=0.0):
    """The state after calls that ended so."""
    breaker = Breaker()
    for number, outcome in enumerate(outcomes):
        if (ticket := breaker.admit()) is not None:
            breaker.record(ticket, outcome, number * apart_s)
    return breaker.state


def test_it_takes_half_of_at_least_five_calls():
    assert after([False] * 4) == "closed"
    assert after([False] * 5) == "open"
    assert after([True, True, True, False, False]) == "closed"
    assert after([True, True, False, False, False]) == "open"


def test_a_service_that_stops_answering_after_thousands_of_good_calls_is_found_out_within_eight():
    assert after([True] * 10_000 + [False] * 7) == "closed"
    assert after([True] * 10_000 + [False] * 8) == "open"


def test_failures_that_are_rare_and_long_ago_count_for_nothing():
    assert after([False, True, True] * 100) == "closed"
    assert after([False] * 50, apart_s=WINDOW_S / 3) == "closed"


def test_what_says_nothing_about_the_service_counts_for_nothing():
    assert after([None] * 100 + [False] * 4) == "closed"


def test_a_call_that_began_before_the_breaker_opened_and_failed_after_it_closed_again_opens_nothing():
    breaker = Breaker()
    early = [breaker.admit() for _ in range(20)]
    for ticket in early[:5]:
        breaker.record(ticket, False, 0.0)
    assert breaker.state == "open"
    breaker.record(breaker.admit_probe(OPEN_S), True, OPEN_S)
    for ticket in early[5:]:
        breaker.record(ticket, False, OPEN_S)
    assert breaker.state == "closed"
