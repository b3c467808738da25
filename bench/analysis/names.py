"""Names and texts of a run made fit to be shown, whoever made it: a run's folder may come from anybody.

Markup is escaped where a text is shown. Here is what escaping lets through: characters that turn a line
around or can't be seen, names that no column and no chart has room for, and names that are no names of files.
"""

import re
import zlib
from collections.abc import Sequence

import msgspec

from bench.plan.contender import Contender
from bench.plan.suite import Experiment, Suite
from bench.records.schema import Record

NAME_LENGTH_MAX = 80  # the longest that the suites make have under 60
_SLUG_LENGTH_MAX = 64  # beside a chart's own name and an ending, well within a file's name
# Controls but tab and newline, marks that turn the direction of what follows, what XML or UTF-8 can't hold.
_HIDDEN = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff\ufffe\uffff]"
)
_SLUG = re.compile(rf"[A-Za-z0-9_][A-Za-z0-9_.-]{{0,{_SLUG_LENGTH_MAX - 1}}}")


def visible(text: str) -> str:
    """`text` with a replacement character for each one that can't be seen or that moves others."""
    return _HIDDEN.sub("\N{REPLACEMENT CHARACTER}", text)


def short(name: str) -> str:
    """`name` on one line, of at most NAME_LENGTH_MAX visible characters; different names stay different."""
    shown = visible(" ".join(name.split()))
    if shown == name and len(name) <= NAME_LENGTH_MAX:
        return name
    return f"{shown[: NAME_LENGTH_MAX - 9]}~{_checksum(name)}"


def slug(name: str) -> str:
    """`name` as a part of a file's name and of an anchor; different names stay different."""
    if _SLUG.fullmatch(name):
        return name
    plain = re.sub(r"[^A-Za-z0-9_]+", "-", name).strip("-")
    return f"{plain[: _SLUG_LENGTH_MAX - 9] or '_'}-{_checksum(name)}"


def with_short_names(suite: Suite, records: Sequence[Record]) -> tuple[Suite, Sequence[Record]]:
    """A run's suite and records with contenders called as `short` has it."""
    in_suite = {one.name for experiment in suite.experiment for one in experiment.contenders}
    in_records = {record.cell.contender for record in records}
    if all(short(name) == name for name in in_suite | in_records):
        return suite, records
    renamed = [
        msgspec.structs.replace(
            one, cell=msgspec.structs.replace(one.cell, contender=short(one.cell.contender))
        )
        for one in records
    ]
    experiments = [_experiment(one) for one in suite.experiment]
    return msgspec.structs.replace(suite, experiment=experiments), renamed


def _experiment(experiment: Experiment) -> Experiment:
    return msgspec.structs.replace(
        experiment,
        reference=short(experiment.reference),
        contenders=[_contender(one) for one in experiment.contenders],
    )


def _contender(contender: Contender) -> Contender:
    base = contender.variant_of
    return msgspec.structs.replace(
        contender, name=short(contender.name), variant_of=None if base is None else short(base)
    )


def _checksum(name: str) -> str:
    return f"{zlib.crc32(name.encode(errors='surrogatepass')):08x}"
