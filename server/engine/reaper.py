"""Runs a command so that nothing of it outlives the caller: ``python reaper.py FOLDER COMMAND...``.

It imports nothing of ours. The caller starts it in a session of its own and holds the other end of its standard
input. When that end closes, however the caller died, FOLDER is removed and the whole process group is killed. A
parent-death signal would not do: it is tied to the thread that forked, and grandchildren do not get it.
"""

import os
import shutil
import signal
import subprocess
import sys
import threading


def main() -> int:
    """Run the command to its end; SIGTERM is passed on to it alone, so that it can finish in order."""
    child = subprocess.Popen(sys.argv[2:], stdin=subprocess.DEVNULL)
    signal.signal(signal.SIGTERM, lambda *_: child.terminate())
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_caller, daemon=True).start()
    return child.wait()


def _end_with_caller() -> None:
    while os.read(0, 1024):
        pass
    shutil.rmtree(sys.argv[1], ignore_errors=True)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    code = main()
    sys.exit(code if code >= 0 else 128 - code)
