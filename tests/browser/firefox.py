"""Firefox, headless, driven by its own remote protocol (Marionette): messages of JSON over a socket.

https://firefox-source-docs.mozilla.org/testing/marionette/Protocol.html
"""

from __future__ import annotations

import base64
import json
import re
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

START_SECONDS = 90
PATIENCE = 60


class Firefox:
    """One browser with a profile of its own; ``close`` ends it."""

    def __init__(self, executable: str, profile: Path) -> None:
        profile.mkdir(parents=True)
        (profile / "user.js").write_text(
            'user_pref("marionette.port", 0);\nuser_pref("browser.shell.checkDefaultBrowser", false);\n'
            'user_pref("datareporting.policy.dataSubmissionEnabled", false);\n'
            'user_pref("app.update.enabled", false);\nuser_pref("network.captive-portal-service.enabled", false);\n'
        )
        command = [executable, "--headless", "--marionette", "--no-remote", "--profile", str(profile)]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            self._socket = self._connected(profile / "MarionetteActivePort")
            self._file = self._socket.makefile("rb")
            self._number = 0
            self._read()  # the greeting
            self.ask("WebDriver:NewSession", capabilities={"alwaysMatch": {"pageLoadStrategy": "normal"}})
        except BaseException:
            self._process.kill()
            self._process.wait()
            raise

    def _connected(self, told: Path) -> socket.socket:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            if told.exists() and (port := re.match(r"\d+", told.read_text())):
                return socket.create_connection(("127.0.0.1", int(port[0])), timeout=PATIENCE)
            time.sleep(0.1)
        raise TimeoutError(f"Firefox did not open its remote protocol within {START_SECONDS} s")

    def _read(self) -> Any:
        length = b""
        while not length.endswith(b":"):
            byte = self._file.read(1)
            if not byte:
                raise ConnectionError("Firefox ended the connection")
            length += byte
        return json.loads(self._file.read(int(length[:-1])))

    def ask(self, command: str, **parameters: Any) -> Any:
        """The answer to a command; raises RuntimeError with Firefox's words where it fails."""
        self._number += 1
        message = json.dumps([0, self._number, command, parameters]).encode()
        self._socket.sendall(b"%d:%s" % (len(message), message))
        _, _, error, answer = self._read()
        if error:
            raise RuntimeError(f"{command}: {error['error']}: {error['message']}")
        return answer

    def open(self, address: str) -> None:
        self.ask("WebDriver:SwitchToFrame", id=None)
        self.ask("WebDriver:Navigate", url=address)

    def run(self, script: str, *arguments: Any) -> Any:
        """What the body of a function returns on the page."""
        return self.ask("WebDriver:ExecuteScript", script=script, args=list(arguments))["value"]

    def wait(self, script: str, *arguments: Any) -> Any:
        """The first true value of ``run``."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            found = self.run(script, *arguments)
            if found:
                return found
            time.sleep(0.1)
        raise TimeoutError(f"never true within {PATIENCE} s: {script}")

    def picture(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self.ask("WebDriver:TakeScreenshot", full=False)["value"]))

    def close(self) -> None:
        try:
            self.ask("Marionette:Quit", flags=["eForceQuit"])
            self._process.wait(timeout=30)
        except (OSError, RuntimeError, ValueError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
        self._socket.close()
