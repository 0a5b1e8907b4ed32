"""`python -m superinfer_runtime`: the same as `superinfer`."""

from superinfer_runtime.cli import main

# The engine's processes import this module again under another name (multiprocessing's spawn).
if __name__ == "__main__":
    main()
