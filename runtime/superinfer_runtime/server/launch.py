"""From a checked configuration to a serving vLLM: what happens once nothing cheap can fail.

Imports vLLM, has its parser read the arguments, decides whether RotaSched can drive this engine,
sets the telemetry up, and serves.
"""

import os
import socket
import ssl
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from pydantic import ValidationError
from superinfer_contract.runtime_config import RuntimeConfig
from superinfer_contract.validation import ConfigError, describe

from superinfer_runtime.engine.version import VersionError, check_vllm_version
from superinfer_runtime.server import crash_note
from superinfer_runtime.server.admin_token import AdminToken
from superinfer_runtime.server.api_keys import ApiKeys
from superinfer_runtime.server.eligibility import check_arguments, rotation_obstacle
from superinfer_runtime.server.serving import EngineDied, Service, serve
from superinfer_runtime.server.start_abort import abort_on_signals
from superinfer_runtime.server.start_line import start_line
from superinfer_runtime.server.vllm_args import block_size_argv, hbm_argv, rotation_argv

CONTROL_SOCKET = "control.sock"
_LONGEST_SOCKET_PATH = 100  # the kernel's limit is 108 bytes


class EngineFailed(Exception):
    """The engine did not start, or died; the message is the cause in one line."""


class UsageError(Exception):
    """vLLM's parser refused an argument."""


@dataclass(frozen=True, slots=True)
class Launch:
    """What `launch` needs, all checked."""

    config: RuntimeConfig
    model: str
    """Path or name."""
    argv: Sequence[str]
    """vLLM's arguments so far: model, engine arguments, and what the user gave after ``--``."""
    token: AdminToken
    api_keys: ApiKeys | None
    tls: ssl.SSLContext | None
    listener: socket.socket


def launch(order: Launch, say: Callable[[str], None], warn: Callable[[str], None]) -> None:
    """Serve until a signal ends it.

    Raises:
        ConfigError: vLLM is missing, of another version, finds no device, or refuses the arguments.
        EngineFailed: the engine did not start or died.
        DrainCut: a second SIGINT ended the drain.
        UsageError: vLLM's parser refused an argument.
    """
    _check_vllm()
    import uvloop
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.entrypoints.serve.utils.api_utils import cli_env_setup, log_non_default_args
    from vllm.logger import DEFAULT_LOGGING_CONFIG, init_logger
    from vllm.platforms import current_platform

    logger = init_logger("vllm.superinfer.server")
    config = order.config
    cli_env_setup()
    with _run_folder() as folder:
        args = _parsed(order.argv, order)
        stock_reason: str | None = "policy is stock"
        if config.policy == "rotasched":
            check_arguments(args)
            with _as_config_error(logger):
                stock_reason = rotation_obstacle(AsyncEngineArgs.from_cli_args(args))
            if stock_reason is not None:
                warn(f"warning: vLLM's own scheduler serves, not RotaSched: {stock_reason}")
        num_workers = args.tensor_parallel_size * args.pipeline_parallel_size
        more = hbm_argv(config.kv_cache.hbm, num_workers)
        control_socket = str(folder / CONTROL_SOCKET) if stock_reason is None else None
        if control_socket is not None:
            more += rotation_argv(config, control_socket)
            if current_platform.is_cuda():
                more += block_size_argv(args.block_size)
        args = _parsed([*order.argv, *more], order)
        log_non_default_args(args)
        abort_on_signals(folder)
        note = crash_note.install(folder, DEFAULT_LOGGING_CONFIG)
        with _telemetry(config, args, stock_reason is None):
            say(start_line(config, order.listener.getsockname(), stock_reason))
            service = Service(
                config, order.token, order.api_keys, order.tls, control_socket, stock_reason or ""
            )
            try:
                with _as_config_error(logger):
                    uvloop.run(serve(args, order.listener, service, say))
            except EngineDied:
                raise EngineFailed(_cause("the engine died", note)) from None
            except RuntimeError as error:
                logger.debug("start failed", exc_info=True)
                fallback = crash_note.one_line(error)
                raise EngineFailed(_cause("the engine did not start", note, fallback)) from error


def _check_vllm() -> None:
    try:
        check_vllm_version()
    except ImportError as error:
        raise ConfigError(
            f"vLLM cannot be imported ({error}); install superinfer[gpu] or superinfer[cpu]"
        ) from error
    except VersionError as error:
        raise ConfigError(str(error)) from error
    from vllm.platforms import current_platform

    if current_platform.is_unspecified():
        raise ConfigError(
            "vLLM finds no device that it was built for; make a GPU visible to this process"
            " (nvidia-smi shows it; a container needs --gpus all), or install superinfer[cpu]"
        )


def _parsed(argv: Sequence[str], order: Launch) -> Any:
    from vllm.entrypoints.openai.api_server import validate_api_server_args
    from vllm.entrypoints.openai.cli_args import make_arg_parser, validate_parsed_serve_args
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    class Parser(FlexibleArgumentParser):
        def error(self, message: str) -> NoReturn:
            # Without the usage text, which lists some hundred options.
            raise UsageError(f"vLLM's arguments: {message}")

    parser = make_arg_parser(Parser(prog="superinfer serve ... --"))
    args = parser.parse_args(list(argv))
    for name in ("uds", "headless", "grpc"):
        if getattr(args, name):
            raise ConfigError(f"--{name}: not available behind superinfer serve")
    moved = args.host is not None or args.port != parser.get_default("port")
    if moved or args.model_tag is not None or args.model != order.model:
        raise ConfigError("the model, --host and --port are given before --")
    if order.api_keys is not None and (args.api_key or os.environ.get("VLLM_API_KEY")):
        raise ConfigError(
            "server.api_key_file: vLLM's --api-key (or VLLM_API_KEY) asks for another key in the "
            "same header; give one of them"
        )
    if order.tls is not None and (args.ssl_certfile or args.ssl_keyfile):
        raise ConfigError(
            "server.tls: vLLM's --ssl-certfile and --ssl-keyfile set it too; drop them"
        )
    args.host, args.port = order.config.server.host, order.config.server.port
    try:
        validate_parsed_serve_args(args)
        validate_api_server_args(args)
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(crash_note.one_line(error)) from error
    return args


@contextmanager
def _as_config_error(logger: Any) -> Iterator[None]:
    """vLLM raises ValueError (pydantic's is one) for what it does not accept in its arguments."""
    try:
        yield
    except (ValueError, TypeError, NotImplementedError) as error:
        logger.debug("configuration refused", exc_info=True)
        if isinstance(error, ValidationError):
            problem = "; ".join(describe(error).splitlines())
        else:
            problem = crash_note.one_line(error)
        raise ConfigError(f"vLLM refuses the configuration: {problem}") from error


@contextmanager
def _telemetry(config: RuntimeConfig, args: Any, rotates: bool) -> Iterator[None]:
    from superinfer_runtime.telemetry import active, otlp, prometheus_face
    from superinfer_runtime.telemetry.meters import SloMeters

    pushing = otlp.push_reader(config.telemetry)
    readers = [prometheus_face.reader(), *([] if pushing is None else [pushing])]
    provider = otlp.provider_for(config.telemetry, readers)
    name = args.served_model_name[0] if args.served_model_name else args.model
    wanted = config.policy == "rotasched" and config.kv_cache.dram is not None
    meter = provider.get_meter("superinfer")
    active.activate(SloMeters(meter, config.slo_classes, name, rotates if wanted else None))
    try:
        yield
    finally:
        active.activate(None)
        otlp.shutdown(provider)


@contextmanager
def _run_folder() -> Iterator[Path]:
    """A private folder for the control socket and the crash note, gone at the end."""
    parent = None
    if len(os.fsencode(tempfile.gettempdir())) > _LONGEST_SOCKET_PATH - 40:
        parent = "/tmp"
    with tempfile.TemporaryDirectory(
        prefix="superinfer-", dir=parent, ignore_cleanup_errors=True
    ) as folder:
        yield Path(folder)


def _cause(what: str, note: Path, fallback: str = "see the log above") -> str:
    return f"{what}: {crash_note.cause(note) or fallback}"
