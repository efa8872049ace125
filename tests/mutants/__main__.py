"""Plants bugs, one at a time, and says of each whether the tests catch it.

    python -m mutants [PART OF A NAME]...    # make mutants ARGS='…'

Those who have to find them first have to find nothing where nothing was planted. The exit code is 1 if a bug gets by.
"""

import sys
import time

from mutants.campaign import plant_and_run, run
from mutants.planted import BUGS, SOURCES


def main(wanted: list[str]) -> int:
    bugs = [bug for bug in BUGS if not wanted or any(part in bug.name for part in wanted)]
    for bug in {bug.caught_by: bug for bug in bugs}.values():
        finding = run(bug, SOURCES)
        if finding.found is not None:
            print(
                f"{bug.caught_by} finds something where nothing was planted: {finding.found}\n{finding.output[-4000:]}"
            )
            return 1
    caught = 0
    for bug in bugs:
        start = time.monotonic()
        finding = plant_and_run(bug)
        caught += finding.found is not None
        print(
            f"{'caught' if finding.found else 'NOT CAUGHT'} in {time.monotonic() - start:.0f} s: {bug.name}", flush=True
        )
        print(f"    {finding.found or finding.output[-2000:]}", flush=True)
    print(f"{caught} of {len(bugs)} caught")
    return 0 if caught == len(bugs) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
