"""Load on an engine inside this process: open loop, every token's arrival noted.

The load generator is that of `superinfer bench`; only the way in differs (no HTTP). A request's SLO
class travels as it does from the server: in the sampling parameters' ``extra_args``, which is where
vLLM puts ``vllm_xargs``. Stock schedulers do not look at it.
"""

import asyncio
import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from random import Random
from typing import Any

from contest.answer import HUNG_UP, Answer
from contest.watch import EngineWatch
from superinfer_runtime.bench.record import Failure, RequestRecord, Served
from superinfer_runtime.bench.runner import Drive, drive_load
from superinfer_runtime.bench.workload import PlannedRequest
from superinfer_runtime.engine.requests import SLO_CLASS_ARG
from vllm import SamplingParams
from vllm.sampling_params import RequestOutputKind
from vllm.v1.engine.exceptions import EngineGenerateError

WARM_UP_REQUESTS, WARM_UP_PROMPT_TOKENS, WARM_UP_TOKENS = 64, 200, 16
SETTLE_TIMEOUT_S = 180.0
"""Pinning our DRAM, at start, takes most of it on a machine whose memory grows as it is used."""


@dataclass(frozen=True, slots=True)
class Driven:
    """A load as it went, the tokens that arrived while it was offered, and those of each request
    that finished, by its index."""

    drive: Drive
    tokens_while_offered: int
    answers: Mapping[int, list[int]]


class RunClock:
    """Seconds since the start of a run, finer than the loop's clock: uvloop's stands still for up
    to a millisecond, which is a good part of a step."""

    def __init__(self, now_s: float) -> None:
        self._start_s = time.monotonic() - now_s

    def __call__(self) -> float:
        return time.monotonic() - self._start_s


class LiveEngine:
    """An `AsyncLLM` that is asked by token ids. Invariant: idle before and after each `drive`."""

    def __init__(self, engine: Any, watch: EngineWatch, vocabulary: int) -> None:
        self.watch = watch
        self.vocabulary = vocabulary
        self._engine = engine
        self._asides = itertools.count()

    async def warm_up(self) -> None:
        """Compile and capture what is left to, and wait until the engine is settled."""
        rng = Random("warm-up")
        async with asyncio.TaskGroup() as group:
            for _ in range(WARM_UP_REQUESTS):
                prompt = [rng.randrange(10, self.vocabulary) for _ in range(WARM_UP_PROMPT_TOKENS)]
                group.create_task(self._aside(prompt, WARM_UP_TOKENS))
        await self.settle()

    async def settle(self) -> None:
        """Wait until nothing runs, waits, is rotated out or on its way.

        An idle engine tells nothing, so a small request makes it speak.

        Raises:
            TimeoutError: it does not come to rest.
        """
        async with asyncio.timeout(SETTLE_TIMEOUT_S):
            while True:
                await self._aside([11, 12, 13], 2)
                await asyncio.sleep(0.2)
                if self.watch.is_idle:
                    return

    async def drive(
        self,
        name: str,
        requests: Sequence[PlannedRequest],
        prompts: Sequence[list[int]],
        hang_ups: Mapping[int, int],
        seconds: float,
        drain_s: float,
    ) -> Driven:
        """Send each request at its time; abort what is unfinished ``drain_s`` after ``seconds``.

        Args:
            hang_ups: by index: after how many tokens the client goes away, its answer unfinished.

        Raises:
            EngineDeadError: the engine died.
        """
        answers: dict[int, Answer] = {}

        clock: RunClock | None = None

        async def send(
            request: PlannedRequest, prompt: list[int], loop_now: Callable[[], float]
        ) -> RequestRecord:
            nonlocal clock
            clock = now = clock or RunClock(loop_now())
            sent_s = now()
            answer = answers[request.index] = Answer()
            outcome: Served | Failure
            try:
                params = sampling(request.output_tokens, request.slo_class.name)
                leaves_after = hang_ups.get(request.index, request.output_tokens)
                outputs = self._engine.generate(
                    {"prompt_token_ids": prompt}, params, f"{name}-{request.index}"
                )
                async with aclosing(outputs):  # vLLM aborts what nobody reads to its end
                    async for output in outputs:
                        answer.add(output.outputs[0].token_ids, now())
                        if len(answer.arrivals_s) >= leaves_after < request.output_tokens:
                            return RequestRecord(request, sent_s, now(), HUNG_UP)
                outcome = answer.outcome(request.input_tokens, request.output_tokens)
            except (EngineGenerateError, ValueError) as error:
                outcome = Failure(f"{type(error).__name__}: {error}")
            return RequestRecord(request, sent_s, now(), outcome)

        drive = await drive_load(
            requests,
            lambda request: prompts[request.index],
            send,
            grace_s=seconds - requests[-1].arrival_s + drain_s,
        )
        arrivals_s = [each for answer in answers.values() for each in answer.arrivals_s]
        finished = {
            record.request.index: answers[record.request.index].token_ids
            for record in drive.records
            if isinstance(record.outcome, Served)
        }
        return Driven(drive, sum(each <= seconds for each in arrivals_s), finished)

    async def asked_again(
        self, requests: Sequence[PlannedRequest], prompts: Sequence[list[int]]
    ) -> dict[int, list[int]]:
        """Return the tokens that an idle engine gives to these requests, by index."""
        async with asyncio.TaskGroup() as group:
            tasks = {
                request.index: group.create_task(
                    self._aside(prompts[request.index], request.output_tokens, salt="again")
                )
                for request in requests
            }
        return {index: task.result() for index, task in tasks.items()}

    async def _aside(
        self, prompt: list[int], num_tokens: int, salt: str | None = None
    ) -> list[int]:
        """Return the tokens of a request that nobody measures.

        Args:
            salt: only KV of requests of the same salt is found again.
        """
        params = sampling(num_tokens, None)
        request_id = f"aside-{next(self._asides)}"
        asked: dict[str, Any] = {"prompt_token_ids": prompt}
        if salt is not None:
            asked["cache_salt"] = salt
        tokens: list[int] = []
        async for output in self._engine.generate(asked, params, request_id):
            tokens += output.outputs[0].token_ids
        return tokens


def sampling(num_tokens: int, slo_class: str | None) -> SamplingParams:
    """Exactly ``num_tokens`` tokens, greedily, told as they come."""
    return SamplingParams(
        temperature=0.0,
        max_tokens=num_tokens,
        ignore_eos=True,
        detokenize=False,
        output_kind=RequestOutputKind.DELTA,
        extra_args={SLO_CLASS_ARG: slo_class} if slo_class else None,
    )
