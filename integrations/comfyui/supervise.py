"""Run a program, and end it as soon as a byte comes on standard input, or the other end of it is closed.

    python supervise.py PROGRAM ARGUMENT…

The system closes the pipe when ComfyUI ends, even by a crash: no painting goes on without it.
"""

import os
import signal
import subprocess
import sys
import threading

SECONDS_TO_SAVE = 10
"""How long the program may take to save and end before it is killed."""


def end_when_told(program: "subprocess.Popen[bytes]") -> None:
    """Wait for standard input; then interrupt the program, and kill it if it does not end."""
    os.read(0, 1)
    if os.name == "posix":
        program.send_signal(signal.SIGINT)
    else:
        program.terminate()
    try:
        program.wait(SECONDS_TO_SAVE)
    except subprocess.TimeoutExpired:
        program.kill()


def main(command: list[str]) -> int:
    """Run `command`, and return its exit code; 128 plus the number of the signal that killed it."""
    # Started in the background of a shell, ComfyUI would hand down that SIGINT is ignored.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        program = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    except OSError as error:
        sys.stderr.write(f"neural-style-tf: {command[0]} cannot be started: {error.strerror or error}\n")
        return 2
    threading.Thread(target=end_when_told, args=(program,), daemon=True).start()
    code = program.wait()
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
