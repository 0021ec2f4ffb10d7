"""Trains on two processes with Lightning's DDP, recorded below the directory given: a script, as its launcher wants."""

from __future__ import annotations

import sys

from test_lightning import Package


def main(place: str) -> None:
    package = Package("lightning")
    callback = package.Callback(every=1)
    package.fit(package.model(), 2, logger=package.Logger(place), callbacks=[callback], devices=2, strategy="ddp")
    alarms = [finding for finding in callback.findings() if finding.severity != "info"]
    assert not alarms, alarms


if __name__ == "__main__":
    main(sys.argv[1])
