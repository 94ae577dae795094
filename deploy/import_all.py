"""Import every module of the platform, when the image is built.

Python then stores the bytecode of all that they use. That is half of what the packages contain, and a
container cannot store it later: its file system is read-only.
"""

import importlib
import pkgutil

# First: it patches the modules of the standard library that others import.
import map_project.server  # noqa: F401  isort: skip
import django
import gunicorn.app.wsgiapp
import gunicorn.workers.ggevent  # noqa: F401

PACKAGES = ("map_project", "tools", "agents", "executions", "ratelimit")


def main() -> None:
    django.setup()
    for package in map(importlib.import_module, PACKAGES):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)


if __name__ == "__main__":
    main()
