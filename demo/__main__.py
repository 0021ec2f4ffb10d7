"""``python -m tb_nnhealth.demo LOGDIR``: the trainings alone, without TensorBoard."""

import sys

from . import main

main(sys.argv[1] if len(sys.argv) > 1 else "runs")
