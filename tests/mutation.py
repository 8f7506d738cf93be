"""Change the gate line by line and see that its tests notice: every comparison, constant, operator and sentence.

    python tests/mutation.py [pattern ...]      # risk.gate.x_leverage* and the like; all by default

mutmut (its settings stand in pyproject.toml) makes the mutants and runs the tests on each. This script lets it work on
a copy, so that the checkout stays clean, and ends with 1 when a mutant is left that is not among `EQUIVALENT`, or when
one of these is not left any more. What mutmut does not touch, tuples and constants of a module, is nudged by
tests/unit/risk/test_constants.py and test_drill.py.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]

A_SIGN = "a sign is 1, -1 or NaN: to divide by it is to multiply by it"
EQUIVALENT: Mapping[tuple[str, str], str] = {
    ("risk.measures.gain", "return (end - start) / sign"): A_SIGN,
    (
        "risk.case._relations",
        "(other, coefficient(correlations.get(other)) * sign / sign_of(direction)) for other, direction in elsewhere",
    ): A_SIGN,
    (
        "risk.case._relations",
        "(other, coefficient(correlations.get(other)) / sign * sign_of(direction)) for other, direction in elsewhere",
    ): A_SIGN,
}
"""Mutants that no test can tell from the original: (function, what its line became) and the reason."""


@dataclass(frozen=True)
class Mutant:
    """One change and what came of it."""

    file: str
    function: str
    status: str
    diff: tuple[str, ...]

    @property
    def became(self) -> str:
        """The changed lines as one, however they are wrapped."""
        return " ".join(line[1:].strip() for line in self.diff if line.startswith("+"))

    @property
    def equivalent(self) -> bool:
        return self.status == "survived" and (self.function, self.became) in EQUIVALENT


def copy_of_project(folder: Path) -> None:
    """What the mutants and their tests need."""
    settings = tomllib.loads((PROJECT / "pyproject.toml").read_text())["tool"]["mutmut"]
    for name in (*settings["source_paths"], *settings["also_copy"], "tests", "pyproject.toml"):
        if (PROJECT / name).is_dir():
            shutil.copytree(PROJECT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(PROJECT / name, folder / name)


def mutants(patterns: Iterable[str]) -> Iterator[Mutant]:
    """All mutants of the copy in the working folder that were tried; of those the patterns ask for."""
    # Importing mutmut reads the settings of the working folder.
    from mutmut.mutation.data import SourceFileMutationData
    from mutmut.mutation.diff_apply import get_diff_for_mutant
    from mutmut.stats import status_by_exit_code
    from mutmut.utils.file_utils import walk_mutatable_files

    for path in walk_mutatable_files():
        results = SourceFileMutationData(path=path)
        results.load()
        for name, exit_code in results.exit_code_by_key.items():
            if not any(fnmatch(name, pattern) for pattern in patterns):
                continue
            function = name.partition("__mutmut_")[0].replace(".x_", ".")
            status = status_by_exit_code[exit_code]
            diff = () if status == "killed" else tuple(get_diff_for_mutant(name, path=path).splitlines()[2:])
            yield Mutant(str(path), function, status, diff)


def report(found: list[Mutant], *, complete: bool) -> bool:
    """Print the figures and everything that is not as it must be. Returns whether something was."""
    left = [mutant for mutant in found if mutant.status != "killed" and not mutant.equivalent]
    listed = {(mutant.function, mutant.became) for mutant in found if mutant.equivalent}
    print(f"\n{'file':<24}{'mutants':>9}{'killed':>9}{'equivalent':>12}{'left':>7}")
    for file in (*sorted({mutant.file for mutant in found}), "total"):
        here = [mutant for mutant in found if file in (mutant.file, "total")]
        counts = Counter("killed" if m.status == "killed" else "equivalent" if m.equivalent else "left" for m in here)
        print(f"{file:<24}{len(here):>9}{counts['killed']:>9}{counts['equivalent']:>12}{counts['left']:>7}")
    for mutant in left:
        print(f"\n{mutant.function}: {mutant.status}")
        print("\n".join(line for line in mutant.diff if not line.startswith("@@")))
    gone = sorted(EQUIVALENT.keys() - listed) if complete else []
    for function, became in gone:
        print(f"\n{function}: no longer left, take it off the list of equivalent mutants:\n+    {became}")
    return bool(left or gone)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("patterns", nargs="*", help="names of mutants, with wildcards")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="orchestrator-mutation-") as folder:
        copy_of_project(Path(folder))
        os.chdir(folder)  # mutmut knows no other way to say where
        command = [str(Path(sys.executable).with_name("mutmut")), "run", *options.patterns]
        if subprocess.run(command, check=False).returncode:
            print("mutmut could not do its work; see above", file=sys.stderr)
            return 2
        found = list(mutants(options.patterns or ["*"]))
        os.chdir(PROJECT)
    return int(report(found, complete=not options.patterns))


if __name__ == "__main__":
    sys.exit(main())
