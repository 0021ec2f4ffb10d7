"""What tb_nnhealth costs, beside what others cost: ``python -m benchmarks``."""
