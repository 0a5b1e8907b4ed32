"""SIGTERM or SIGINT while the model is loading: there is nothing to drain, so everything ends now.

Unwinding is no way out of vLLM's start: an interrupt raised inside it can leave the API process
waiting for an engine that waits for the API process. So all descendants are killed and this process
leaves at once.
"""

import os
import shutil
import signal
import sys
from pathlib import Path

import psutil
from superinfer_contract import exit_codes


def abort_on_signals(folder: Path) -> None:
    """Install the handlers; the server installs its own when it has started.

    Args:
        folder: the run folder, removed on the way out.
    """

    def abort(*_: object) -> None:
        for process in psutil.Process().children(recursive=True):
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
        shutil.rmtree(folder, ignore_errors=True)
        sys.stderr.write("error: stopped before it was ready\n")
        sys.stderr.flush()
        sys.stdout.flush()
        os._exit(exit_codes.FAILURE)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, abort)
