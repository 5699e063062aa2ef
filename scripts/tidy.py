"""What no file of the repository may hold: download addresses in locks, machine paths, build output, long modules.

Run by `make lint`; exits 1 and names each place.
"""

import re
import subprocess
import sys
from pathlib import Path

LONG = 400  # lines; a module over it is split or named here with its reason
LONGER_MODULES: dict[str, str] = {
    "gateway/src/sparkyard_gateway/image_check.py": "is sent into images as one file",
}
LARGE = 1_500_000  # bytes
ADDRESS_IN_LOCK = re.compile(r"https?://|--index-url|--extra-index-url|--find-links|\bfile:")
MACHINE_PATH = re.compile(r"""(?<![^\s"'`=(:])/(?:(?:work|farm)/[\w.]|root/\.)""")


def tracked() -> list[Path]:
    """Every file that git would commit."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], capture_output=True, check=True
    )
    return [path for name in listing.stdout.decode().split("\0") if name and (path := Path(name)).is_file()]


def problems_of(path: Path) -> list[str]:
    """The rules that one file breaks, as sentences."""
    data = path.read_bytes()
    if len(data) > LARGE:
        return [f"{path}: {len(data)} bytes; build output is not committed"]
    if b"\0" in data:
        picture = path.suffix == ".png"
        return [] if picture else [f"{path}: a binary file; only screenshots that docs show are committed"]
    problems = []
    lines = data.decode().splitlines()
    for number, line in enumerate(lines, 1):
        if path.parts[0] == "requirements" and ADDRESS_IN_LOCK.search(line):
            problems.append(f"{path}:{number}: a lock holds no address")
        if path != Path("scripts/tidy.py") and MACHINE_PATH.search(line):
            problems.append(f"{path}:{number}: the path of one machine")
    if path.suffix == ".py" and "/src/" in str(path) and len(lines) > LONG and str(path) not in LONGER_MODULES:
        problems.append(f"{path}: {len(lines)} lines; split it by nouns, or give the reason in scripts/tidy.py")
    return problems


def main() -> int:
    """Print every problem; 1 where there is any."""
    problems = [problem for path in tracked() for problem in problems_of(path)]
    print("\n".join(problems) or f"tidy: {len(tracked())} files hold no address, machine path or build output")  # noqa: T201
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
