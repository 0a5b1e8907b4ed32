"""`superinfer serve`: options in, a serving process out, and one clear line for what is wrong.

Everything that can be checked without vLLM is checked before it is imported, the port is held from
then on. Exit codes are the contract's: 0 drained, 1 the engine or the port, 2 the command line, 78
the configuration.
"""

import os
import signal
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import JsonValue
from superinfer_contract import exit_codes
from superinfer_contract.machine import memory_limit_bytes, require_memory
from superinfer_contract.runtime_config import RuntimeConfig
from superinfer_contract.tls import TlsFiles, server_context
from superinfer_contract.validation import ConfigError, load_model

from superinfer_runtime.server.admin_token import AdminToken
from superinfer_runtime.server.api_keys import ApiKeys
from superinfer_runtime.server.listening import AddressError, bind
from superinfer_runtime.server.model_location import check_model, offline_environment
from superinfer_runtime.server.pass_through import passed_through
from superinfer_runtime.server.vllm_args import engine_argv


class Policy(StrEnum):
    """Who schedules."""

    ROTASCHED = "rotasched"
    STOCK = "stock"


def serve(
    ctx: typer.Context,
    model: Annotated[
        str | None,
        typer.Argument(help="Path or name of the model.  [default: the embedded tiny model]"),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Runtime configuration (JSON, or YAML by its suffix)."),
    ] = None,
    host: Annotated[
        str | None, typer.Option(help="Address to listen on.  [default: 127.0.0.1]")
    ] = None,
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Port to listen on.  [default: 8000]")
    ] = None,
    policy: Annotated[
        Policy | None,
        typer.Option(help="RotaSched, or vLLM's own scheduler.  [default: rotasched]"),
    ] = None,
) -> None:
    """Serve a model with vLLM under SLO classes. What follows -- goes to vLLM as it is."""
    # vLLM's import takes seconds. A container's first process never gets a signal that it has no
    # handler for: a pod that is deleted meanwhile would stay for its whole grace period.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    overrides = {"model": model, "policy": policy and policy.value}
    server = {"host": host, "port": port}
    try:
        _serve(config, overrides, server, passed_through(ctx))
    except ConfigError as error:
        raise _failed(str(error), exit_codes.CONFIG) from None
    except AddressError as error:
        raise _failed(str(error), exit_codes.FAILURE) from None
    except KeyboardInterrupt:
        raise _failed("stopped before it was ready", exit_codes.FAILURE) from None


def _serve(
    file: Path | None,
    overrides: Mapping[str, Any],
    server: Mapping[str, Any],
    vllm_arguments: list[str],
) -> None:
    config = _configuration(file, overrides, server)
    token, api_keys = AdminToken.of(config.server), ApiKeys.of(config.server)
    tls = (
        None
        if (files := config.server.tls) is None
        else server_context(TlsFiles(files.certificate, files.key))
    )
    kv_cache = config.kv_cache
    if config.policy == "rotasched" and kv_cache.dram is not None and kv_cache.tier == "host":
        require_memory("kv_cache.dram.max", kv_cache.dram.max, memory_limit_bytes())
    if config.model is not None:
        check_model(config.model, os.environ)
    engine_argv(config, "", {})  # refuses what must not be among the engine arguments
    listener = bind(config.server.host, config.server.port)
    try:
        model, defaults = _located(config)
        _quieten(model)
        from superinfer_runtime.server.launch import EngineFailed, Launch, UsageError, launch
        from superinfer_runtime.server.serving import DrainCut

        argv = [*engine_argv(config, model, defaults), *vllm_arguments]
        try:
            order = Launch(config, model, argv, token, api_keys, tls, listener)
            launch(order, _say, _warn)
        except EngineFailed as error:
            raise _failed(str(error), exit_codes.FAILURE) from None
        except UsageError as error:
            raise _failed(str(error), exit_codes.USAGE) from None
        except DrainCut:
            raise _failed("interrupted while draining", exit_codes.FAILURE) from None
    finally:
        listener.close()


def _configuration(
    file: Path | None, overrides: Mapping[str, Any], server: Mapping[str, Any]
) -> RuntimeConfig:
    """Read ``file`` (all defaults without one); options that were given win."""
    base = RuntimeConfig() if file is None else load_model(RuntimeConfig, file)
    given = {name: value for name, value in overrides.items() if value is not None}
    given_server = {name: value for name, value in server.items() if value is not None}
    if given_server:
        given["server"] = base.server.model_copy(update=given_server)
    return base.model_copy(update=given)


def _located(config: RuntimeConfig) -> tuple[str, Mapping[str, JsonValue]]:
    """Return the model's path or name, and the engine arguments that it brings along."""
    if config.model is not None:
        return config.model, {}
    from superinfer_runtime import tiny_model

    try:
        path = tiny_model.ensure_tiny_model()
    except OSError as error:
        raise ConfigError(
            f"the embedded model cannot be written to {error.filename}: {error.strerror}; set "
            "XDG_CACHE_HOME to a writable folder"
        ) from error
    defaults = dict(tiny_model.ENGINE_DEFAULTS)
    if config.kv_cache.hbm is not None:
        del defaults[tiny_model.KV_CACHE_ARGUMENT]
    return str(path), defaults


def _quieten(model: str) -> None:
    """A server does not report on its user, and a local model needs no look-ups."""
    defaults = {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", **offline_environment(model)}
    for name, value in defaults.items():
        os.environ.setdefault(name, value)


def _say(line: str) -> None:
    typer.echo(line)


def _warn(line: str) -> None:
    typer.echo(line, err=True)


def _failed(message: str, code: int) -> typer.Exit:
    for line in message.splitlines():
        typer.echo(f"error: {line}", err=True)
    return typer.Exit(code)
