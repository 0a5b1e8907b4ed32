"""A machine so small that every limit of it is soon reached, and workloads to reach them with.

Its numbers are made up such that a step takes milliseconds, about as long for the weights as for
the tokens of a full batch, and a rotated request comes back within some steps.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

from hypothesis import strategies as st
from superinfer_contract.runtime_config import SchedulerKnobs
from superinfer_contract.slo import SloClass
from superinfer_runtime.sim.deployment import Deployment
from superinfer_runtime.sim.machine.hardware import Hardware
from superinfer_runtime.sim.machine.link import LinkSpec
from superinfer_runtime.sim.machine.model_shape import ModelShape
from superinfer_runtime.sim.policies import POLICIES
from superinfer_runtime.sim.request import NextTurn, SimRequest
from superinfer_runtime.sim.stock_scheduler import EngineLimits

BLOCK_SIZE = 4
MAX_MODEL_LEN = 64
MIN_BLOCKS = MAX_MODEL_LEN // BLOCK_SIZE
"""So that the longest request fits."""
AMPLE_BLOCKS = 10_000

CHAT = SloClass(name="chat", ttft_s=0.05, tbt_s=0.006, default=True)
BATCH = SloClass(name="batch", ttft_s=0.5, tbt_s=0.03, weight=0.5)

MODEL = ModelShape("small", 2, 256, 8, 2, 32, 512, 512)
LINK = LinkSpec(
    out_bytes_per_s=4e6,
    in_bytes_per_s=5e6,
    duplex_bytes_per_s=6e6,
    one_way_shares=((1, 1.0), (2, 1.0)),
    duplex_shares=((1, 1.0), (2, 1.0)),
    staged_share=None,
    fixed_s=2e-4,
    pin_s_per_byte=1e-9,
    decode_slowdown=0.1,
)
HARDWARE = Hardware(
    name="small",
    hbm_bytes=3e9,
    hbm_bytes_per_s=1.2e9,
    peak_flops=1.2e10,
    dram_bytes=1e9,
    link=LINK,
    cpu_step_s=2e-4,
    cpu_request_s=1e-5,
    launch_s=0.0,
)


def deployment(
    hbm_blocks: int = AMPLE_BLOCKS,
    dram_blocks: int = AMPLE_BLOCKS,
    limits: EngineLimits | None = None,
    hardware: Hardware = HARDWARE,
    replicas: int = 1,
    knobs: SchedulerKnobs | None = None,
) -> Deployment:
    block_bytes = MODEL.kv_bytes_per_token * BLOCK_SIZE
    return Deployment(
        MODEL,
        hardware,
        limits or EngineLimits(BLOCK_SIZE, max_model_len=MAX_MODEL_LEN),
        knobs or SchedulerKnobs(run_quantum_s=0.01),
        replicas=replicas,
        hbm_kv_bytes=hbm_blocks * block_bytes,
        dram_kv_bytes=dram_blocks * block_bytes,
    )


@dataclass(frozen=True)
class FamilyText:
    """Requests of one family begin with the same tokens, as far as both go."""

    family: int

    def block_key(self, index: int, block_size: int) -> tuple[int, int]:
        return self.family, (index + 1) * block_size


def turns(requests: Sequence[SimRequest]) -> Iterator[SimRequest]:
    """All requests of a workload, later turns of sessions among them."""
    for request in requests:
        turn: SimRequest | None = request
        while turn is not None:
            yield turn
            turn = turn.next_turn.request if turn.next_turn is not None else None


@dataclass(frozen=True)
class _Turn:
    prompt_tokens: int
    output_tokens: int
    think_s: float


_turn_lists = st.lists(
    st.builds(_Turn, st.integers(1, 40), st.integers(1, 24), st.floats(0.0, 0.02)),
    min_size=1,
    max_size=3,
)


def workloads(
    sessions: bool = True, class_names: Sequence[str] = ("chat", "batch"), max_size: int = 12
) -> st.SearchStrategy[tuple[SimRequest, ...]]:
    """Bursts of requests that outgrow a small pool, in order of arrival."""
    one = st.tuples(
        st.sampled_from([0.0, 0.0, 0.001, 0.01, 0.05]),
        _turn_lists if sessions else _turn_lists.map(lambda listed: listed[:1]),
        st.sampled_from(class_names),
        st.none() | st.integers(0, 2),
    )
    return st.lists(one, min_size=1, max_size=max_size).map(_requests)


def _requests(
    drawn: list[tuple[float, list[_Turn], str, int | None]],
) -> tuple[SimRequest, ...]:
    arrivals_s = accumulate(gap_s for gap_s, *_ in drawn)
    requests = []
    for number, (arrival_s, (_, listed, name, family)) in enumerate(
        zip(arrivals_s, drawn, strict=True)
    ):
        content = FamilyText(family) if family is not None else None
        request: SimRequest | None = None
        think_s = 0.0
        for index in reversed(range(len(listed))):
            following = NextTurn(think_s, request) if request is not None else None
            turn = listed[index]
            request = SimRequest(
                f"r{number}-{index}",
                arrival_s if index == 0 else 0.0,
                turn.prompt_tokens,
                turn.output_tokens,
                name,
                content=content,
                next_turn=following,
            )
            think_s = turn.think_s
        assert request is not None
        requests.append(request)
    return tuple(requests)


limits = st.builds(
    EngineLimits,
    block_size=st.just(BLOCK_SIZE),
    max_num_seqs=st.integers(1, 8) | st.just(1024),
    max_num_batched_tokens=st.sampled_from([8, 17, 64]),
    max_model_len=st.just(MAX_MODEL_LEN),
    prefix_caching=st.booleans(),
    async_scheduling=st.booleans(),
)
deployments = st.builds(
    deployment,
    hbm_blocks=st.integers(MIN_BLOCKS, 40) | st.just(AMPLE_BLOCKS),
    dram_blocks=st.integers(0, 30) | st.just(AMPLE_BLOCKS),
    limits=limits,
    hardware=st.sampled_from(
        [HARDWARE, replace(HARDWARE, link=replace(LINK, out_bytes_per_s=4e5, in_bytes_per_s=5e5))]
    ),
    replicas=st.integers(1, 2),
)
policies = st.sampled_from(list(POLICIES.values()))
