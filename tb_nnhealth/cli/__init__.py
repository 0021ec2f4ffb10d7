"""The console command `nnhealth`: one file per sub-command."""
