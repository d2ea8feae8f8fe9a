"""The command line of the checks on what we are made of: ``python -m tests.supply COMMAND``.

``sbom [--check]`` writes (or compares) sbom.cdx.json; ``code`` runs bandit; ``advisories`` runs
pip-audit. .ci/run calls all three.
"""

from __future__ import annotations

import argparse
import sys

from tests.supply import advisories, code, sbom


def main(argv: list[str]) -> int:
    """Run one; gives its exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.supply", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    bill = commands.add_parser("sbom", help="write the bill of materials made of the locks")
    bill.add_argument("--check", action="store_true", help="only compare; exit 1 if out of step")
    commands.add_parser("code", help="bandit over everything that ships; exit 1 for any finding")
    known = commands.add_parser("advisories", help="pip-audit --strict over both locks")
    known.add_argument(
        "--osv-url", default="", help="an OSV service to ask instead of the public ones"
    )
    known.add_argument(
        "--require-service",
        action="store_true",
        help="exit 1 instead of 75 where no service can be asked: for a CI that has the internet",
    )
    args = parser.parse_args(argv)
    if args.command == "sbom":
        return sbom.main(check=args.check)
    if args.command == "code":
        return code.main()
    return advisories.main(osv_url=args.osv_url, required=args.require_service)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
