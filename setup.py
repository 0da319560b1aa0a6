"""Which folders are installed, and as what: `server/` is `specserve`, any other folder `x/` is `specserve.x`."""

from setuptools import find_packages, setup

# Named one by one, so that no other folder can reach site-packages.
FOLDERS = ["spec", "generated", "telemetry", "backends", "models", "handlers", "conformance", "loadtest"]


def packages(folder: str, name: str) -> list[str]:
    """The package in a folder, and all below it."""
    return [name, *(f"{name}.{inner}" for inner in find_packages(folder))]


setup(
    packages=packages("server", "specserve") + [each for x in FOLDERS for each in packages(x, f"specserve.{x}")],
    package_dir={"specserve": "server", **{f"specserve.{x}": x for x in FOLDERS}},
)
