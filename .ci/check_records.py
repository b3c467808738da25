"""Read a run's folder as an outsider would, and fail where a record doesn't hold what it must."""

import json
import sys
from pathlib import Path

CONTENDERS = {"threads", "select", "poll", "epoll", "asyncio_streams", "epoll:c", "io_uring"}
CONNECTIONS = {1, 10, 100, 1000}


def main() -> None:
    """Check the run folder named on the command line."""
    folder = Path(sys.argv[1])
    run = json.loads((folder / "run.json").read_text())
    records = [json.loads(line) for line in (folder / "cells.jsonl").read_text().splitlines()]
    contenders = set(CONTENDERS)
    for elsewhere in [record for record in records if record["status"] == "unavailable"]:
        name, reason = elsewhere["cell"]["contender"], elsewhere["reason"]
        if name == "io_uring":  # a container's seccomp profile may forbid it
            contenders.discard(name)
        else:
            assert "windows" in reason.lower(), f"{name}: {reason}"
        records.remove(elsewhere)
    (experiment,) = run["suite"]["experiment"]
    repeats = range(1, experiment["repeats"] + 1)
    expected = {(name, count, repeat) for name in contenders for count in CONNECTIONS for repeat in repeats}
    seen = set()
    for record in records:
        cell, load = record["cell"], record["load"]
        where = f"{cell['contender']} at {cell['load']['connections']}"
        assert record["status"] == "measured", f"{where}: {record['status']}: {record['reason']}"
        assert load["errors"] == {}, f"{where}: {load['errors']}"
        assert load["requests"] > 0, where
        assert load["connections_opened"] == cell["load"]["connections"], where
        assert load["response_time"]["p50_ns"] <= load["response_time"]["p99_ns"], where
        if (
            cell["load"]["connections"] <= 100
        ):  # beyond, a wait may be longer than a slice: marked littles-law
            assert abs(load["checks"]["littles_law_ratio"] - 1) < 0.2, where
        assert len(load["slices"]) == experiment["rounds"], where
        assert record["server"]["stopped"]["errors"] == {}, f"{where}: {record['server']['stopped']}"
        seen.add((cell["contender"], cell["load"]["connections"], record["repeat"]))
    assert seen == expected, seen ^ expected
    others = [
        record for record in records if record["cell"]["contender"] != "epoll:c"
    ]  # it may be in two blocks
    assert len(others) == sum(name != "epoll:c" for name, _, _ in expected), "a cell was recorded twice"
    assert run["status"] == "finished"
    assert run["yardstick_sha256"]
    assert "<svg" in (folder / "report.html").read_text()
    assert list((folder / "charts").glob("*.png"))
    print(f"{len(records)} records hold; {run['elapsed_s'] / run['slices_s']:.2f} of the time in slices")


if __name__ == "__main__":
    main()
