"""How much is played of what can be played on every backend."""

import os
from typing import Final

# Whether it is all of it, which takes half an hour, or a part.
WHOLE: Final = bool(os.environ.get("CONFORMANCE"))
# What is drawn at random is drawn from it.
SEED: Final = os.environ.get("CONFORMANCE_SEED", "1")
