"""`python -m acequia` is the command itself."""

import os
import subprocess
import sys

from ._binary import find_binary


def main() -> None:
    """Takes the command's place."""
    command = [str(find_binary()), *sys.argv[1:]]
    if os.name == "posix":
        os.execv(command[0], command)
    sys.exit(subprocess.run(command, check=False).returncode)


if __name__ == "__main__":
    main()
