"""Who gets which CPUs."""

from pathlib import Path

import pytest

from bench.host.placement import Placement, allowed_cpus, cores, group, place


@pytest.mark.parametrize(
    ("cpu_cores", "server", "generator"),
    [
        ([[0], [1]], [0], [1]),
        ([[0], [1], [2], [3]], [0, 1, 2], [3]),
        ([[0, 2], [1, 3]], [0, 2], [1]),  # the generator's sibling, 3, stays idle
        ([[0, 1]], [0], [1]),  # one core with two hardware threads
        ([[5]], [5], [5]),
    ],
)
def test_split_gives_the_generator_a_core(
    cpu_cores: list[list[int]], server: list[int], generator: list[int]
) -> None:
    placed = place(Placement.SPLIT, cpu_cores)
    assert (placed.server, placed.generator) == (server, generator)


def test_shared_is_one_cpu_and_free_is_none() -> None:
    shared = place(Placement.SHARED, [[0], [1]])
    assert shared.server == shared.generator == [0]
    free = place(Placement.FREE, [[0], [1]])
    assert free.server is None
    assert free.generator is None


@pytest.mark.linux("reads /sys")
def test_cores_are_read_from_the_system(tmp_path: Path) -> None:
    for cpu, siblings in ((0, "0,2"), (1, "1,3"), (2, "0,2"), (3, "1,3")):
        folder = tmp_path / f"cpu{cpu}/topology"
        folder.mkdir(parents=True)
        (folder / "thread_siblings_list").write_text(siblings + "\n")
    assert cores([0, 1, 2, 3], tmp_path) == [[0, 2], [1, 3]]
    assert cores([0, 1], tmp_path / "nowhere") == [[0], [1]]


def test_cpus_are_grouped_by_the_cores_of_the_machine() -> None:
    machine = [[0, 1], [2, 3], [4, 5]]
    assert group([0, 1, 2, 3, 4, 5], machine) == machine
    assert group([1, 2, 3], machine) == [[1], [2, 3]]
    assert group([5, 64], machine) == [[5], [64]]  # of another processor group: a core of its own


def test_every_allowed_cpu_is_on_one_core() -> None:
    cpus = allowed_cpus()
    assert sorted(cpu for core in cores(cpus) for cpu in core) == cpus
