"""The proof that a task set does not leak: `proof.json` beside its tiles."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

import landmeta
from landmeta.atomic import write_text
from landmeta.errors import LeakyTaskSet
from landmeta.taskset import TaskSet

FILE = "proof.json"
CheckName = Literal["ground", "looks", "names", "neighbours", "seasons"]


class Offence(BaseModel):
    """One thing that is wrong.

    Attributes:
        tiles: row numbers of the tiles concerned; of many, the first few.
        sources: the files they come from.
        what: what they have in common.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    tiles: tuple[int, ...]
    sources: tuple[str, ...]
    what: str

    def text(self) -> str:
        """One line for people."""
        return f"tiles {', '.join(map(str, self.tiles))}: {self.what} ({', '.join(self.sources)})"


class Check(BaseModel):
    """One part of the proof.

    Attributes:
        name: of the check.
        passed: False if it found leakage.
        said: what it found, in a sentence.
        found: number of offences.
        offences: the first of them.
        figures: what was counted.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: CheckName
    passed: bool
    said: str
    found: int = 0
    offences: tuple[Offence, ...] = ()
    figures: dict[str, Any] = {}


class Proof(BaseModel):
    """What the checks of a task set found."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["landmeta-proof"] = "landmeta-proof"
    format_version: Literal[1] = 1
    passed: bool
    buffer: float
    """Metres that the splits must be apart."""
    data: str
    """SHA-256 of what was checked, see `fingerprint`."""
    tiles: int
    located: int
    """Tiles, and how many of them have a place on the Earth."""
    checks: tuple[Check, ...]
    version: str = landmeta.__version__

    def failures(self) -> list[Check]:
        """The checks that found leakage."""
        return [check for check in self.checks if not check.passed]

    def verdict(self) -> str:
        """In some words, no stronger than what could be checked."""
        if not self.passed:
            return "LEAKAGE"
        if self.located == self.tiles:
            return "no leakage found"
        which = f"{self.tiles - self.located} tiles have" if self.located else "the tiles have"
        return f"no leakage found as far as images tell: {which} no georeference"

    def text(self, most: int = 5) -> str:
        """For people: a line a check, and `most` of the offences of each."""
        apart = f", splits at least {self.buffer:g} m apart" if self.buffer else ""
        lines = [f"proof: {self.verdict()}{apart}"]
        for check in self.checks:
            lines.append(f"  {'ok  ' if check.passed else 'FAIL'} {check.name}: {check.said}")
            lines += [f"         {offence.text()}" for offence in check.offences[:most]]
            if check.found > most:
                lines.append(f"         and {check.found - most} more")
        return "\n".join(lines)


def fingerprint(taskset: TaskSet) -> str:
    """SHA-256 of a set's splits, its tile table, and the names and sizes of its arrays' files.

    The pixels themselves are left out: that would take as long as reading them all.
    """
    digest = hashlib.sha256(json.dumps(taskset.meta.splits, sort_keys=True).encode())
    digest.update((taskset.folder / "tiles.parquet").read_bytes())
    for name, size in _files(taskset.folder):
        digest.update(f"{name}\0{size}\n".encode())
    return digest.hexdigest()


def _files(folder: Path) -> Iterator[tuple[str, int]]:
    for array in ("images.zarr", "labels.zarr", "valid.zarr"):
        files = sorted(p for p in (folder / array).rglob("*") if p.is_file())
        yield from ((p.relative_to(folder).as_posix(), p.stat().st_size) for p in files)


def write_proof(folder: Path, proof: Proof, *, overwrite: bool = False) -> None:
    """Write `proof.json` into a task set.

    Raises:
        OutputExists: there is one and `overwrite` is False.
        WriteFailed: the disk is full or not writable.
    """
    write_text(folder / FILE, proof.model_dump_json(indent=2) + "\n", overwrite=overwrite)


def read_proof(folder: Path) -> Proof | None:
    """The proof in a task set; None where there is none, or none that can be read."""
    try:
        return Proof.model_validate(json.loads((folder / FILE).read_text(encoding="utf-8")))
    except (OSError, ValueError, ValidationError):
        return None


def demand_proof(taskset: TaskSet, *, allow_leakage: bool = False) -> dict[str, Any]:
    """Make sure that a task set is proved free of leakage.

    Returns:
        What to keep in a provenance: verdict, buffer, fingerprint, and whether it was overridden.

    Raises:
        LeakyTaskSet: the proof failed, is missing, or is of other data, and `allow_leakage` is
            False.
    """
    proof, data = read_proof(taskset.folder), fingerprint(taskset)
    again = f"run 'landmeta check {taskset.folder} --write'"
    trust = "to use the set as it is, pass --allow-leakage; that is recorded in the result"
    if proof is None:
        verdict, what = "missing", "has no proof that its splits do not leak into each other"
        remedy = f"{again} to make one; {trust}"
    elif proof.data != data:
        verdict, what = "of other data", "has changed since it was proved free of leakage"
        remedy = f"{again} to prove it anew; {trust}"
    elif not proof.passed:
        verdict = "failed"
        found = "; ".join(f"{check.name}: {check.said}" for check in proof.failures())
        what = f"leaks between its splits ({found})"
        remedy = f"see 'landmeta check {taskset.folder}' and prepare it with other splits; {trust}"
    else:
        verdict = "passed"
    if verdict != "passed" and not allow_leakage:
        raise LeakyTaskSet(what, remedy=remedy, path=taskset.folder)
    return {
        "proof": verdict,
        "buffer": proof.buffer if proof else None,
        "data": data,
        "leakage_allowed": allow_leakage,
    }


def proof_text(record: Mapping[str, Any]) -> str:
    """What `demand_proof` returned, in words."""
    apart = f", splits at least {record['buffer']:g} m apart" if record["buffer"] else ""
    words = {"passed": f"passed{apart}", "failed": "FAILED: the splits leak"}
    text = words.get(record["proof"], f"none ({record['proof']})")
    allowed = record["leakage_allowed"] and record["proof"] != "passed"
    return text + (" (allowed by --allow-leakage)" if allowed else "")
