"""What `tox run -e conformance` runs: judge the server that is named, or ours on `echo` and on the default model."""

import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from servers import CHAT, EMBED, running

LIMIT = "180"
OURS = (
    ("echo", ("--model", "echo"), ("--profile", "all", "--profile", "extensions")),
    ("default", (), ("--model", CHAT, "--embedding-model", EMBED, "--profile", "all")),
)


def conform(*arguments):
    return subprocess.run([sys.executable, "-m", "specserve", "conform", *arguments], check=False).returncode


def main():
    if any(argument.startswith(("http://", "https://")) or argument == "--target" for argument in sys.argv[1:]):
        return conform(*sys.argv[1:])
    worst = 0
    for name, serve, options in OURS:
        sys.stderr.write(f"== ours, {name}\n")
        with running(*serve) as server:
            report = Path("build", "conformance", name)
            status = conform(f"{server.url}/v1", *options, "--max-time", LIMIT, "--report", report, *sys.argv[1:])
        worst = max(worst, status)
    return worst


if __name__ == "__main__":
    sys.exit(main())
