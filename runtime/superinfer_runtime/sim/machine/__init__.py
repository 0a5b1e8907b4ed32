"""What a run costs: model shapes, machines, step times, the link to DRAM."""
