"""`python -m bench.sampled`: the gateway, which notes now and then what its main thread is working on.

SIGUSR1 begins anew; SIGUSR2 writes `{stage: CPU seconds}` to the file that BENCH_SAMPLES names.
"""

from __future__ import annotations

import json
import os
import runpy
import signal
import time
from collections import Counter
from functools import cache
from pathlib import Path
from types import CodeType, FrameType

# Seconds of CPU between two looks. One look costs some 10 microseconds.
_INTERVAL_S = 0.002

# A stage owns what runs in these files or functions, and whatever they call that belongs to no other stage.
STAGES = {
    "validate": ("/web/json_body.py", "/telelink_shared/customer.py"),
    "upstream, encode": ("/upstream/answer.py:inputs_of",),
    "upstream, gather": ("/upstream/batching.py", "/upstream/model.py"),
    "upstream, check": ("/upstream/answer.py", "/upstream/client.py:ModelClient._ask"),
    "upstream, call": ("/upstream/", "/httpx/", "/httpx_aiohttp/", "/aiohttp/"),
    "decide": ("/telelink_shared/decision.py", "/telelink_gateway/predicting.py"),
    "history": ("/history/", "/routes/predictions.py:_history_rows"),
    "serialise": ("/routes/predictions.py",),
    "log, metrics, ids, headers": (
        "/web/envelope.py",
        "/web/metrics.py",
        "/web/logging.py",
        "/web/request_id.py",
        "/security_headers.py",
        "/structlog/",
        "/prometheus_client/",
    ),
    # Whatever has no owner above it is here: the server's own frame is below every other.
    "framework, server, event loop": ("/web/direct_routes.py", "/fastapi/", "/starlette/", "/uvicorn/"),
}


@cache
def _owner(code: CodeType) -> str | None:
    place = f"{code.co_filename}:{code.co_qualname}"
    return next((stage for stage, owned in STAGES.items() if any(part in place for part in owned)), None)


def stage_of(frame: FrameType | None) -> str:
    """The stage of the innermost frame that belongs to one, the last of all for none."""
    while frame is not None:
        if stage := _owner(frame.f_code):
            return stage
        frame = frame.f_back
    return list(STAGES)[-1]


class Sampler:
    """Adds up the main thread's CPU time by stage. The timer counts all threads, so looks are weighed by that time."""

    def __init__(self) -> None:
        self._spent: Counter[str] = Counter()
        self._last = time.thread_time()

    def look(self, _signal: int, frame: FrameType | None) -> None:
        """Called by the timer in the main thread."""
        now = time.thread_time()
        self._spent[stage_of(frame)] += now - self._last
        # What looking costs is nobody's.
        self._last = time.thread_time()

    def begin(self, _signal: int, _frame: FrameType | None) -> None:
        """Forget what was seen."""
        self._spent.clear()
        self._last = time.thread_time()

    def write(self, _signal: int, _frame: FrameType | None) -> None:
        """Write what was seen, at once or not at all."""
        target = Path(os.environ["BENCH_SAMPLES"])
        target.with_suffix(".part").write_text(json.dumps(self._spent))
        target.with_suffix(".part").rename(target)


def main() -> None:
    """Run the gateway under the sampler."""
    sampler = Sampler()
    signal.signal(signal.SIGPROF, sampler.look)
    signal.signal(signal.SIGUSR1, sampler.begin)
    signal.signal(signal.SIGUSR2, sampler.write)
    signal.setitimer(signal.ITIMER_PROF, _INTERVAL_S, _INTERVAL_S)
    runpy.run_module("telelink_gateway", run_name="__main__")


if __name__ == "__main__":
    main()
