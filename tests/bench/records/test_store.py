"""Run folders: nothing that was finished is lost, and nothing is half-written."""

import gzip
import json
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from bench.errors import Exit, UserError
from bench.records.reading import Unread
from bench.records.schema import SCHEMA, Cell, Cpus, Load, Record, Run
from bench.records.store import RunFolder, latest, list_runs, resolve

IMPORTS = """
import sys
from pathlib import Path
from bench.errors import UserError
from bench.records.store import RunFolder
"""


def run_of(name: str = "quick", started_at: str = "2026-11-23T13:59:15.2Z") -> Run:
    return Run(
        schema=SCHEMA,
        name=name,
        status="running",
        started_at=started_at,
        seed=1,
        suite={},
        environment={},
        versions={},
        yardstick_sha256=None,
    )


def block_of(repeat: int, *contenders: str, started_at: str = "2026-11-23T14:00:00Z") -> list[Record]:
    return [
        Record(
            schema=SCHEMA,
            status="failed",
            repeat=repeat,
            block="connections-10",
            started_at=started_at,
            reason="it ended",
            cell=Cell(
                experiment="connections",
                contender=contender,
                model=contender,
                implementation="python",
                options={"threads": 2},
                load=Load(connections=10),
            ),
            cpus=Cpus(server=[0], generator=None),
        )
        for contender in contenders
    ]


def start(code: str, *arguments: object) -> subprocess.Popen[str]:
    """Another process that runs `code` after IMPORTS."""
    return subprocess.Popen(
        [sys.executable, "-c", IMPORTS + textwrap.dedent(code), *map(str, arguments)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[3],
    )


def output_of(code: str, *arguments: object) -> str:
    process = start(code, *arguments)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    return output.strip()


def test_folders_of_the_same_second_have_names_of_their_own(tmp_path: Path) -> None:
    folders = [RunFolder.create(tmp_path / "results", run_of("quick: mine")) for _ in range(3)]
    names = [folder.path.name for folder in folders]
    assert names == [f"quick-mine-20261123T135915Z{suffix}" for suffix in ("", "-2", "-3")]
    for folder in folders:
        assert json.loads((folder.path / "run.json").read_text())["name"] == folder.path.name
        assert folder.logs.is_dir()


def test_records_come_back_as_they_were_appended(tmp_path: Path) -> None:
    with RunFolder.create(tmp_path, run_of()) as folder:
        folder.append(block_of(1, "epoll", "select"))
        folder.append(block_of(2, "epoll", "select"))
    assert RunFolder.open(folder.path).records() == block_of(1, "epoll", "select") + block_of(
        2, "epoll", "select"
    )


def test_a_torn_last_line_is_ignored_by_readers_and_cut_off_before_appending(tmp_path: Path) -> None:
    with RunFolder.create(tmp_path, run_of()) as folder:
        folder.append(block_of(1, "epoll", "select"))
    cells = folder.path / "cells.jsonl"
    whole = cells.read_bytes()
    torn = whole + whole[:100]
    cells.write_bytes(torn)
    assert RunFolder.open(folder.path).records() == block_of(1, "epoll", "select")
    assert cells.read_bytes() == torn
    with RunFolder.open(folder.path, append=True) as again:
        assert cells.read_bytes() == whole
        again.append(block_of(2, "epoll"))
    assert len(again.records()) == 3


def packed(folder: RunFolder) -> Path:
    """Its records, packed as `gzip cells.jsonl` does."""
    cells = folder.path / "cells.jsonl"
    target = folder.path / "cells.jsonl.gz"
    target.write_bytes(gzip.compress(cells.read_bytes()))
    cells.unlink()
    return target


def test_a_packed_run_is_read_as_it_is_and_unpacked_to_go_on(tmp_path: Path) -> None:
    with RunFolder.create(tmp_path, run_of()) as folder:
        folder.append(block_of(1, "epoll", "select"))
    plain = (folder.path / "cells.jsonl").read_bytes()
    file = packed(folder)
    assert RunFolder.open(folder.path).cells_file == file
    assert RunFolder.open(folder.path).read() == (block_of(1, "epoll", "select"), [])
    assert file.exists()
    with RunFolder.open(folder.path, append=True) as again:
        assert not file.exists()
        assert again.cells_file.read_bytes() == plain
        again.append(block_of(2, "epoll"))
    assert len(again.records()) == 3
    assert sorted(one.name for one in folder.path.glob("cells*")) == ["cells.jsonl"]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda whole: whole[:-40],
        lambda whole: b"nothing packed" + whole,
        lambda whole: whole[:400] + b"!" * 40 + whole[440:],
    ],
)
def test_of_a_packed_run_that_is_damaged_what_can_be_unpacked_is_read(
    tmp_path: Path, spoil: Callable[[bytes], bytes]
) -> None:
    with RunFolder.create(tmp_path, run_of()) as folder:
        for repeat in range(1, 40):
            folder.append(block_of(repeat, "epoll", "select"))
    file = packed(folder)
    file.write_bytes(spoil(file.read_bytes()))
    before = file.read_bytes()
    records, (unread,) = RunFolder.open(folder.path).read()
    assert len(records) < 78
    assert unread.file == "cells.jsonl.gz"
    assert unread.reason.startswith("from here on it can't be unpacked: ")
    with pytest.raises(UserError, match=r"can't be unpacked: .*; take it from a copy"):
        RunFolder.open(folder.path, append=True)
    assert file.read_bytes() == before
    assert sorted(one.name for one in folder.path.glob("cells*")) == ["cells.jsonl.gz"]
    assert not RunFolder.open(folder.path).in_use


def test_lines_that_are_no_records_are_left_out_and_named(tmp_path: Path) -> None:
    with RunFolder.create(tmp_path, run_of()) as folder:
        folder.append(block_of(1, "epoll"))
    with (folder.path / "cells.jsonl").open("ab") as cells:
        cells.write(b'{"schema": 1}\n{"schema": 1\n{}\n')
    with RunFolder.open(folder.path, append=True) as again:
        again.append(block_of(2, "epoll"))
    records, unread = RunFolder.open(folder.path).read()
    assert records == block_of(1, "epoll") + block_of(2, "epoll")
    missing = "no record: Object missing required field"
    assert unread == [
        Unread("cells.jsonl", f"{missing} `status`", [2]),
        Unread("cells.jsonl", "damaged: no JSON", [3]),
        Unread("cells.jsonl", f"{missing} `schema`", [4]),
    ]


def test_a_file_is_read_again_when_it_has_changed(tmp_path: Path) -> None:
    with RunFolder.create(tmp_path, run_of()) as folder:
        folder.append(block_of(1, "epoll"))
        reader = RunFolder.open(folder.path)
        (first,) = reader.records()
        reader.records().clear()
        assert reader.records()[0] is first
        folder.append(block_of(2, "epoll"))
        assert reader.records() == folder.records() == block_of(1, "epoll") + block_of(2, "epoll")


@pytest.mark.parametrize(
    ("first", "second", "kept"),
    [
        (("epoll",), ("epoll", "select"), "second"),
        (("epoll", "select"), ("epoll",), "first"),
        (("epoll", "select"), ("epoll", "select"), "second"),
    ],
    ids=["torn by a crash, then whole", "whole, then torn", "whole twice"],
)
def test_of_a_block_measured_twice_the_whole_one_counts(
    tmp_path: Path, first: tuple[str, ...], second: tuple[str, ...], kept: str
) -> None:
    blocks = {"first": block_of(1, *first), "second": block_of(1, *second, started_at="2026-11-23T14:09:00Z")}
    with RunFolder.create(tmp_path, run_of()) as folder:
        for block in blocks.values():
            folder.append(block)
    assert folder.records() == blocks[kept]


def test_cells_recorded_apart_from_their_block_are_kept(tmp_path: Path) -> None:
    apart = block_of(1, "iocp", started_at="2026-11-23T13:59:59Z")
    with RunFolder.create(tmp_path, run_of()) as folder:
        folder.append(apart)
        folder.append(block_of(1, "epoll", "select"))
    assert folder.records() == apart + block_of(1, "epoll", "select")


def test_update_replaces_run_json_as_a_whole(tmp_path: Path) -> None:
    with RunFolder.create(tmp_path, run_of()) as folder:
        folder.update(status="finished", elapsed_s=2.5)
        assert folder.run.status == "finished"
    reopened = RunFolder.open(folder.path).run
    assert (reopened.status, reopened.elapsed_s, reopened.seed) == ("finished", 2.5, 1)
    assert sorted(path.name for path in folder.path.iterdir()) == ["lock", "logs", "run.json"]


@pytest.mark.windows("refuses to replace what is open")
def test_a_reader_of_run_json_for_a_moment_is_waited_for(tmp_path: Path) -> None:
    with RunFolder.create(tmp_path, run_of()) as folder:
        reader = (folder.path / "run.json").open("rb")
        threading.Timer(0.3, reader.close).start()
        folder.update(status="finished")
        assert reader.closed
    assert RunFolder.open(folder.path).run.status == "finished"


def test_two_processes_do_not_append_to_one_run(tmp_path: Path) -> None:
    other = """
        try:
            RunFolder.open(Path(sys.argv[1]), append=True)
            print("opened")
        except UserError as error:
            print(error)
    """
    with RunFolder.create(tmp_path, run_of()) as folder:
        assert output_of(other, folder.path).startswith("another process is writing to")
        assert RunFolder.open(folder.path).in_use
    assert not RunFolder.open(folder.path).in_use
    assert output_of(other, folder.path) == "opened"


def test_a_killed_process_loses_no_finished_block(tmp_path: Path) -> None:
    with RunFolder.create(tmp_path, run_of()) as folder:
        folder.append(block_of(0, "epoll", "select"))
    writer = start(
        """
        import msgspec
        with RunFolder.open(Path(sys.argv[1]), append=True) as folder:
            block, repeat = folder.records(), 0
            while True:
                repeat += 1
                folder.append([msgspec.structs.replace(record, repeat=repeat) for record in block])
                print(repeat, flush=True)
        """,
        folder.path,
    )
    assert writer.stdout is not None
    for _ in range(20):
        finished = int(writer.stdout.readline())
    writer.kill()
    writer.communicate()
    with RunFolder.open(folder.path, append=True) as again:
        again.append(block_of(10_000, "epoll"))
    repeats = [record.repeat for record in RunFolder.open(folder.path).records() if record.repeat < 10_000]
    assert set(range(finished + 1)) <= set(repeats)


@pytest.mark.linux("has limits of a process")
def test_what_could_not_be_written_whole_is_taken_back(tmp_path: Path) -> None:
    with RunFolder.create(tmp_path, run_of()) as folder:
        folder.append(block_of(1, "epoll", "select"))
    before = (folder.path / "cells.jsonl").read_bytes()
    said = output_of(
        """
        import resource
        with RunFolder.open(Path(sys.argv[1]), append=True) as folder:
            block = folder.records()
            size = (folder.path / "cells.jsonl").stat().st_size
            room = size + size * 3 // 4  # for one record more, half of what there is, and no more
            resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))
            try:
                folder.append(block * 5)
            except UserError as error:
                print(error)
            folder.append(block[:1])
        """,
        folder.path,
    )
    assert "could not be written" in said
    assert f"iocpbench run --resume {folder.path}" in said
    assert (folder.path / "cells.jsonl").read_bytes() == before + before.splitlines(keepends=True)[0]


@pytest.mark.linux("can mount a small disk")
def test_a_full_disk_keeps_what_was_measured(tmp_path: Path) -> None:
    mount = f"mount -t tmpfs -o size=64k tmpfs {tmp_path}"
    if subprocess.run(["unshare", "-rm", "sh", "-c", mount], check=False).returncode:
        pytest.skip("this user can't mount a small disk")
    code = """
        import msgspec
        from bench.records.schema import Record, Run
        run = msgspec.json.decode(sys.argv[2], type=Run)
        block = msgspec.json.decode(sys.argv[3], type=list[Record])
        with RunFolder.create(Path(sys.argv[1]), run) as folder:
            try:
                while True:
                    folder.append(block)
            except UserError as error:
                print(error)
            try:
                folder.update(versions={str(n): "x" * 50 for n in range(200)})
            except UserError:
                pass
            print(len(folder.records()) % len(block), RunFolder.open(folder.path).run == folder.run)
    """
    records = [msgspec.structs.replace(one, started_at=str(n)) for n, one in enumerate(block_of(1, *"abc"))]
    script = f'{mount} && exec "$@"'
    arguments = [
        tmp_path / "results",
        msgspec.json.encode(run_of()).decode(),
        msgspec.json.encode(records).decode(),
    ]
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", script, "sh", sys.executable, "-c", IMPORTS + textwrap.dedent(code)]
        + [str(argument) for argument in arguments],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[3],
    )
    assert (
        "no room on the disk; what was measured is kept\nfree space and `iocpbench run --resume"
        in done.stdout
    )
    assert done.stdout.splitlines()[-1] == "0 True"


def test_what_is_no_run_is_said_to_be_none(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"is not a run: it has no run\.json") as error:
        RunFolder.open(tmp_path)
    assert error.value.exit_code == Exit.USAGE
    with pytest.raises(UserError, match="there is no such folder"):
        RunFolder.open(tmp_path / "nothing")
    (tmp_path / "run.json").write_text("[]")
    with pytest.raises(UserError, match=r"run\.json can't be read"):
        RunFolder.open(tmp_path)


def test_what_a_newer_version_wrote_is_read_as_far_as_it_goes_and_not_gone_on_with(tmp_path: Path) -> None:
    with RunFolder.create(tmp_path, run_of()) as folder:
        folder.append(block_of(1, "epoll"))
    cells, run_file = folder.path / "cells.jsonl", folder.path / "run.json"
    newer = f"written by a newer iocpbench (schema {SCHEMA + 1}): update this one"
    with cells.open("a") as file:
        file.write(json.dumps({"schema": SCHEMA + 1, "figures": []}) + "\n")
    records, unread = folder.read()
    assert (records, unread) == (block_of(1, "epoll"), [Unread("cells.jsonl", newer, [2])])
    fields = {**json.loads(run_file.read_text()), "schema": SCHEMA + 1, "seed": [1, 2]}
    del fields["versions"]
    run_file.write_text(json.dumps(fields))
    (opened,) = list_runs(tmp_path)
    assert (opened.run.name, opened.run.seed, opened.run.versions) == (folder.path.name, 0, {})
    assert [one.reason for one in opened.unread] == [
        f"{newer}; what it says is shown",
        "seed can't be read: Expected `int`, got `array`",
        "versions is missing",
    ]
    assert opened.records() == block_of(1, "epoll")
    with pytest.raises(UserError, match="newer iocpbench"):
        RunFolder.open(folder.path, append=True)
    run_file.write_text('{"another": "program"}')
    with pytest.raises(UserError, match=r"run\.json can't be read"):
        RunFolder.open(folder.path)
    assert list_runs(tmp_path) == []


def test_runs_are_found_by_name_by_path_and_as_the_latest(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no run in .* yet") as error:
        latest(tmp_path / "results")
    assert error.value.exit_code == Exit.UNAVAILABLE
    days = ("2026-11-22", "2026-11-24", "2026-11-23")
    paths = [RunFolder.create(tmp_path, run_of(started_at=f"{day}T00:00:00Z")).path for day in days]
    assert [folder.path for folder in list_runs(tmp_path)] == [paths[1], paths[2], paths[0]]
    assert resolve(None, tmp_path) == paths[1]
    assert resolve(paths[0].name, tmp_path) == paths[0]
    assert resolve(str(paths[2]), tmp_path / "elsewhere") == paths[2]
    with pytest.raises(UserError, match="did you mean quick-20261122T000000Z") as error:
        resolve("quick-20261122T00000", tmp_path)
    assert error.value.exit_code == Exit.USAGE


def test_a_suites_name_means_its_latest_run(tmp_path: Path) -> None:
    reference = tmp_path / "reference"
    days = ("2026-11-22", "2026-11-24", "2026-11-23")
    quick = [RunFolder.create(reference, run_of(started_at=f"{day}T00:00:00Z")).path for day in days]
    RunFolder.create(reference, run_of("quick-own", started_at="2026-11-25T00:00:00Z"))
    again = RunFolder.create(reference, run_of(started_at="2026-11-24T00:00:00Z")).path
    assert again.name == "quick-20261124T000000Z-2"
    assert resolve("quick", reference) == again
    assert resolve("reference/quick", tmp_path) == again
    assert resolve(reference / "quick", tmp_path / "elsewhere") == again
    assert resolve(quick[0].name, reference) == quick[0]
    with pytest.raises(UserError, match="no run quic:"):
        resolve("quic", reference)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "results").write_text("a file")
    with pytest.raises(UserError, match="results can't be written"):
        RunFolder.create(tmp_path / "results", run_of())
