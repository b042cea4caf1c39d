"""Asks a vulnerability service about the packages of lock files; exits 1 where it knows of a hole.

    python3 audit.py LOCK... [--service pypi|osv] [--osv-url URL]

Where no service can be reached, or one that knows nothing answers, it says so in a line and exits 0: a
machine with no network can be worked on. The machine's own markers count, not those of other platforms.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

# An old release whose hole every service knows of (CVE-2018-18074): a mirror of packages alone answers
# too, says of each that it is not known, and would let everything pass.
PROBE = "requests==2.19.0"
_UNREACHABLE = re.compile("connect|timed? ?out|max retries|resolve", re.IGNORECASE)


class AuditError(Exception):
    """pip-audit could not do its work for another reason than the network."""


def main() -> int:
    """0: no hole is known, or nobody can be asked; 1: there is one, or a file is damaged."""
    parser = argparse.ArgumentParser(description="Known vulnerabilities of pinned packages.")
    parser.add_argument("locks", nargs="+", type=Path, metavar="LOCK")
    parser.add_argument("--service", choices=("pypi", "osv"), default="pypi")
    parser.add_argument("--osv-url", help="where OSV is; only with --service osv")
    asked = parser.parse_args()
    options = ["--vulnerability-service", asked.service]
    options += ["--osv-url", asked.osv_url] if asked.osv_url else []
    try:
        if not answers(options):
            return _told("audit: no vulnerability service can be reached; nothing was looked up", 0)
        found = look_up(pins(asked.locks), options)
    except AuditError as error:
        return _told(f"audit: {error}", 1)
    if found is None:
        return _told("audit: the vulnerability service went away; not all was looked up", 0)
    holes = [_line(one, hole) for one in found for hole in one.get("vulns", ())]
    skipped = sum("skip_reason" in one for one in found)
    unknown = f", {skipped} of them not known to the service" if skipped else ""
    told = [*holes, f"audit: {len(found)} packages{unknown}, {len(holes)} holes"]
    return _told("\n".join(told), int(bool(holes)))


def answers(options: Sequence[str]) -> bool:
    """Whether a service is there that knows of holes. Raises AuditError."""
    return any(one.get("vulns") for one in look_up([PROBE], options) or ())


def pins(locks: Iterable[Path]) -> list[str]:
    """What the files pin, each once and without its hashes: pip-audit takes all with hashes or none."""
    text = "\n".join(lock.read_text(encoding="utf-8") for lock in locks)
    lines = (re.split(r"\s(?:--hash|\\)", line)[0].strip() for line in text.splitlines())
    return list(dict.fromkeys(line for line in lines if line and line[:1] not in "#-"))


def look_up(packages: Iterable[str], options: Sequence[str]) -> list[dict[str, Any]] | None:
    """Each package with its holes, as pip-audit tells them; None where the service cannot be reached.

    Raises AuditError.
    """
    command = [sys.executable, "-m", "pip_audit", "--disable-pip", "--no-deps", "--format", "json"]
    command += ["--progress-spinner", "off", "--aliases", "on", *options]
    with tempfile.TemporaryDirectory() as folder:
        listed = Path(folder) / "packages.txt"
        listed.write_text("\n".join(packages), encoding="utf-8")
        command += ["--requirement", str(listed)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        found: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        said = (done.stderr.strip() or done.stdout.strip() or "it said nothing").splitlines()[-1]
        if _UNREACHABLE.search(said):
            return None
        raise AuditError(f"pip-audit failed: {said}") from None
    return found


def _line(package: dict[str, Any], hole: dict[str, Any]) -> str:
    names = ", ".join([hole["id"], *hole.get("aliases", ())])
    mend = ", ".join(hole["fix_versions"]) or "no release mends it yet"
    return f"{package['name']} {package['version']}: {names}; mended in: {mend}"


def _told(text: str, code: int) -> int:
    sys.stdout.write(f"{text}\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
