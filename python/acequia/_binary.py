"""Where the command is."""

import os
import shutil
import sys
import sysconfig
from pathlib import Path


def find_binary() -> Path:
    """The `acequia` that was installed with this package, else the one on the PATH. ACEQUIA_BINARY names another."""
    named = os.environ.get("ACEQUIA_BINARY")
    if named:
        return Path(named)
    name = "acequia" + (sysconfig.get_config_var("EXE") or "")
    schemes = [sysconfig.get_path("scripts"), str(Path(sys.executable).parent)]
    user = sysconfig.get_preferred_scheme("user")
    if user in sysconfig.get_scheme_names():
        schemes.append(sysconfig.get_path("scripts", scheme=user))
    for folder in schemes:
        binary = Path(folder, name)
        if binary.is_file():
            return binary
    found = shutil.which(name)
    if found:
        return Path(found)
    raise FileNotFoundError(
        f"the command `{name}` is neither in {schemes[0]} nor on the PATH: install acequia again, or name it in ACEQUIA_BINARY"
    )
