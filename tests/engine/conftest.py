"""Environment of tests that import vLLM: offline, quiet, loopback only."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["VLLM_NO_USAGE_STATS"] = "1"
os.environ["VLLM_HOST_IP"] = "127.0.0.1"
os.environ["VLLM_LOGGING_LEVEL"] = "ERROR"
