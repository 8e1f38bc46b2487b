"""The oldest releases that setup.cfg allows, as pip's constraints, for `make test-oldest`: `python tests/oldest.py > constraints.txt`."""

from __future__ import annotations

import configparser
import re
import sys
from pathlib import Path

SETUP = Path(__file__).resolve().parents[1] / "setup.cfg"
OF_AN_ACCELERATOR = ("cuda", "tpu")  # extras of jax, which bring what fits it


def oldest(setup: Path = SETUP) -> dict[str, str]:
    """Each requirement's floor, by the package's name. Raises `ValueError` for one without a floor, or with two."""
    read = configparser.ConfigParser()
    read.read(setup, encoding="utf-8")
    extras = [lines for extra, lines in read["options.extras_require"].items() if extra not in OF_AN_ACCELERATOR]
    floors: dict[str, str] = {}
    for line in "\n".join([read["options"]["install_requires"], *extras]).split():
        found = re.match(r"([\w.-]+)[=>]=([\d.]+)", line)
        if not found:
            raise ValueError(f"setup.cfg requires {line!r}; name the oldest release that works: {line}>=…")
        name, floor = found.groups()
        if floors.setdefault(name, floor) != floor:
            raise ValueError(f"setup.cfg requires {name} from {floors[name]} and from {floor}; give one floor")
    return floors


if __name__ == "__main__":
    sys.stdout.writelines(f"{name}=={floor}\n" for name, floor in oldest().items())
