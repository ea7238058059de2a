"""Prints the platform tag that a wheel may bear: that of the newest symbols that its binaries need, as `auditwheel show` finds.

auditwheel takes a library that the wheel brings along in its `data` for a foreign one, because it looks for none there. Any that
really is foreign is refused.
"""

import json
import subprocess
import sys
import zipfile
from pathlib import Path


def main(wheel: str) -> None:
    """Asks the auditwheel that is installed beside this Python."""
    command = [Path(sys.executable).with_name("auditwheel"), "show", "--json", wheel]
    shown = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout)
    with zipfile.ZipFile(wheel) as archive:
        brought = {Path(name).name for name in archive.namelist()}
    foreign = shown["external_libs"].keys() - brought
    if foreign:
        sys.exit(f"{wheel} needs {', '.join(sorted(foreign))}, which other systems lack")
    print(shown["sym_tag"])


main(sys.argv[1])
