"""`python3 -m tests.cluster up [--nodes 2]|down|status|env|pause PROGRAM|resume PROGRAM`."""

from __future__ import annotations

import argparse
import shlex
import sys

from tests.cluster import Cluster, ClusterError


def _report(line: str) -> None:
    print(line, flush=True)


def _status(cluster: Cluster) -> int:
    for name, program in cluster.programs.items():
        pid = program.process.pid()
        state = "stopped" if pid is None else f"pid {pid}, {'answers' if program.answers() else 'does not answer'}"
        _report(f"{name}: {state}")
    problems = cluster.problems()
    _report("; ".join(problems) if problems else "healthy")
    return 1 if problems else 0


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python3 -m tests.cluster", description="A real Kubernetes for the tests.")
    verbs = parser.add_subparsers(dest="verb", required=True)
    up = verbs.add_parser("up", help="bring it up; does nothing if it is healthy")
    up.add_argument("--nodes", type=int, choices=(1, 2), help="how many nodes; the second comes and goes by itself")
    verbs.add_parser("down", help="end it and remove what it left")
    verbs.add_parser("status", help="say what runs; exit code 1 if it is not healthy")
    verbs.add_parser("env", help="print the settings for lfgpods as shell exports")
    for verb, text in (("pause", "stop one program"), ("resume", "start a stopped program again")):
        verbs.add_parser(verb, help=text).add_argument("program", choices=tuple(Cluster().programs))
    return parser.parse_args(argv)


def main(argv: list[str]) -> int:
    try:
        arguments = _parse(argv)
        cluster = Cluster(_report)
        if arguments.verb == "up":
            cluster.up(arguments.nodes)
        elif arguments.verb == "down":
            cluster.down()
        elif arguments.verb == "status":
            return _status(cluster)
        elif arguments.verb == "env":
            for name, value in cluster.settings().items():
                _report(f"export {name}={shlex.quote(value)}")
        elif arguments.verb == "pause":
            cluster.pause(arguments.program)
        else:
            cluster.resume(arguments.program)
    except (ClusterError, OSError) as error:
        print(f"the cluster: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
