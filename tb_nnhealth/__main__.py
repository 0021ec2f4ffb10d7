"""``python -m tb_nnhealth``: the console command, where the scripts of the environment are not on the path."""

from __future__ import annotations

import sys

from tb_nnhealth.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
