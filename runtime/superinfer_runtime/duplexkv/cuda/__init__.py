"""DuplexKV's copy engine for CUDA GPUs.

`engine` is the engine, `lane` one direction of it, `packing` cuts jobs into chunks. Beneath them
`device` is all that is asked of a GPU: `batch_copy` drives its copy engines, `segment_kernel` a few
of its SMs, `slabs` makes the memory of the tier. `calibration` measures what they can do.
"""
