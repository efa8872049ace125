"""The order in which a run takes the files of the tests."""

from pathlib import Path
from typing import Final

from support.order import MOSTLY_COMPUTING, MOSTLY_WAITING, arranged

TESTS: Final = Path(__file__).parents[1]


def test_the_files_whose_times_are_known_exist() -> None:
    assert [file for file in (*MOSTLY_WAITING, *MOSTLY_COMPUTING) if not (TESTS / file).is_file()] == []
    assert MOSTLY_WAITING.keys() & MOSTLY_COMPUTING.keys() == set()


def test_every_file_is_run_once_and_the_longest_of_each_kind_first() -> None:
    files = ["domain/test_retry.py", *sorted(MOSTLY_COMPUTING), *sorted(MOSTLY_WAITING), "api/test_wire.py"]

    order = arranged(files)

    assert sorted(order) == sorted(files)
    waiting = [MOSTLY_WAITING[file] for file in order if file in MOSTLY_WAITING]
    computing = [MOSTLY_COMPUTING[file] for file in order if file in MOSTLY_COMPUTING]
    assert waiting == sorted(waiting, reverse=True)
    assert computing == sorted(computing, reverse=True)
    assert order[-2:] == ["domain/test_retry.py", "api/test_wire.py"]


def test_files_that_wait_are_spread_over_the_others() -> None:
    order = arranged([*MOSTLY_WAITING, *MOSTLY_COMPUTING])

    half = sum(MOSTLY_COMPUTING.values()) / 2
    computed = waited = 0
    for file in order:
        computed += MOSTLY_COMPUTING.get(file, 0)
        if computed > half:
            break
        waited += MOSTLY_WAITING.get(file, 0)
    assert 0.35 < waited / sum(MOSTLY_WAITING.values()) < 0.65


def test_there_may_be_files_of_one_kind_alone() -> None:
    assert arranged(list(MOSTLY_WAITING)) == sorted(MOSTLY_WAITING, key=lambda file: -MOSTLY_WAITING[file])
    assert arranged(["a/test_a.py", "b/test_b.py"]) == ["a/test_a.py", "b/test_b.py"]
    assert arranged([]) == []
