"""Which engines RotaSched can drive, told from vLLM's parsed arguments before anything is loaded.

What stock vLLM serves is served: an engine that cannot be driven gets vLLM's own scheduler. What
only the loaded model shows (several kinds of KV cache) the scheduler finds by itself, and keeps its
SLO accounting without rotating.
"""

from typing import Any

from superinfer_contract.validation import ConfigError


def check_arguments(args: Any) -> None:
    """Check that the user did not ask for another scheduler beside RotaSched.

    Args:
        args: the parsed arguments of vLLM's command line.

    Raises:
        ConfigError: one of the arguments that RotaSched needs for itself is set.
    """
    for name, value, default in (
        ("--scheduler-cls", args.scheduler_cls, None),
        ("--kv-transfer-config", args.kv_transfer_config, None),
        ("--scheduling-policy", args.scheduling_policy, "fcfs"),
    ):
        if value != default:
            raise ConfigError(
                f"{name} cannot be combined with policy rotasched, which sets it itself; drop it, "
                "or serve with --policy stock"
            )


def rotation_obstacle(engine_args: Any) -> str | None:
    """Return why vLLM's stock scheduler must serve this engine; None: RotaSched can.

    Args:
        engine_args: a `vllm.engine.arg_utils.EngineArgs`; its model's configuration is read.
    """
    if engine_args.speculative_config is not None:
        return "speculative decoding is on"
    if engine_args.pipeline_parallel_size > 1:
        return "pipeline parallelism is on"
    if engine_args.data_parallel_size > 1 or engine_args.data_parallel_rank is not None:
        return "data parallelism is on"
    if (
        engine_args.decode_context_parallel_size > 1
        or engine_args.prefill_context_parallel_size > 1
    ):
        return "context parallelism is on"
    if engine_args.runner == "pooling":
        return "the model pools instead of generating"
    model = engine_args.create_model_config()
    if model.runner_type == "pooling":
        return "the model pools instead of generating"
    if model.is_encoder_decoder:
        return "the model is an encoder-decoder"
    return None
