"""Hypothesis for all tests: no deadline, because the cores are shared and a first call imports."""

from hypothesis import settings

settings.register_profile("superinfer", deadline=None, derandomize=False)
settings.load_profile("superinfer")
