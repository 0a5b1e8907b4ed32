"""What passes between the operator and a runtime, or is read by both, in one place.

The operator and the runtime never import each other: they meet here. Everything in this package is
plain data (pydantic models and constants); it imports neither vLLM nor kopf, so both images can
carry it. A change that an older peer could not read raises ``CONTRACT_VERSION``.
"""

CONTRACT_VERSION = 1
