"""The sanity checks before training. ``tb_nnhealth.preflight`` is the way in."""
