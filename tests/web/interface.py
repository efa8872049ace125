"""The sources of the web interface, and the programs that check and build them."""

from functools import partial
from pathlib import Path
from typing import Final

from support.node import run_program

ROOT: Final = Path(__file__).parents[2]
UI: Final = ROOT / "ui"
run = partial(run_program, UI)
# The compiler that checks types in a sixth of the time; openapi-typescript needs the one before, of the same name.
TSC: Final = "../typescript-7/bin/tsc"
# What they compile is compiled by it: most users do not have the other one.
TSC_OF_USERS: Final = "../typescript/bin/tsc"
