"""`make chaos`: 200 random faults under load. ARGS: the number of faults, and a seed."""

import os
import sys
import time

import django


def main() -> None:
    os.environ["DJANGO_SETTINGS_MODULE"] = "map_project.settings"
    django.setup()
    from tests.faults.chaos import run

    given = [*map(int, sys.argv[1:])]
    moments = given[0] if given else 200
    seed = given[1] if len(given) > 1 else time.time_ns() % 10**6
    report = run(moments, seed)
    print(report)
    sys.exit(1 if report.violations else 0)


if __name__ == "__main__":
    main()
