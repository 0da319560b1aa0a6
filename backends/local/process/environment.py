"""The environment of a worker process: what its libraries read, and none of the server's keys."""

from __future__ import annotations

import os
import re
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

HEARTBEAT_VARIABLE = "SPECSERVE_WORKER_HEARTBEAT_SECONDS"
"""How often the worker says that it is alive; see `pipes.py`."""

PARENT_VARIABLE = "SPECSERVE_WORKER_PARENT"
"""The process id of the server that started the worker."""

_NAMES = frozenset(
    {
        "APPDATA",
        "COMSPEC",
        "HOME",
        "LANG",
        "LANGUAGE",
        "LOCALAPPDATA",
        "LOGNAME",
        "NUMBER_OF_PROCESSORS",
        "PATH",
        "PATHEXT",
        "SPECSERVE_HOME",
        "SYSTEMDRIVE",
        "SYSTEMROOT",
        "TEMP",
        "TMP",
        "TMPDIR",
        "TZ",
        "USER",
        "USERPROFILE",
        "VIRTUAL_ENV",
        "WINDIR",
    }
)

_PREFIXES = (
    "BLIS_",
    "COVERAGE_",
    "CUBLAS_",
    "CUDA_",
    "CUDNN_",
    "DNNL_",
    "DYLD_",
    "GGML_",
    "GLIBC_",
    "GOMP_",
    "GPU_",
    "HF_",
    "HIP_",
    "HSA_",
    "KMP_",
    "LC_",
    "LD_",
    "LLAMA_",
    "MALLOC_",
    "MIOPEN_",
    "MKL_",
    "NCCL_",
    "NEO_",
    "NUMEXPR_",
    "NVIDIA_",
    "OCL_",
    "OMP_",
    "ONEAPI_",
    "ONEDNN_",
    "OPENBLAS_",
    "OPENCL_",
    "OPENVINO_",
    "OV_",
    "PYTHON",
    "PYTORCH_",
    "ROCM_",
    "ROCR_",
    "SAFETENSORS_",
    "SYCL_",
    "TBB_",
    "TOKENIZERS_",
    "TORCH",
    "TRANSFORMERS_",
    "TRITON_",
    "UR_",
    "VK_",
    "XDG_",
    "ZES_",
    "ZE_",
)

# Also within what the prefixes let through: HF_TOKEN is for downloads, and those are the server's.
_SECRET = re.compile(
    r"(^|_)(API_?KEYS?|AUTH|CREDENTIALS?|KEYS?|PASS|PASSWD|PASSWORD|SECRETS?|TOKENS?)(_|$)", re.IGNORECASE
)


def worker_environment(
    passed: Iterable[str] = (), environ: Mapping[str, str] | None = None, heartbeat_seconds: float = 0
) -> dict[str, str]:
    """Choose the variables that a worker process gets.

    Those that libraries of engines read are passed on, unless their names look like those of secrets.

    Args:
        passed: Names, or patterns such as ``ACME_*``, of more variables to pass on, secret or not.
        environ: The environment to choose from, by default that of this process.
        heartbeat_seconds: How often the worker says that it is alive; 0 never.
    """
    environ = os.environ if environ is None else environ
    patterns = tuple(passed)
    chosen = {name: value for name, value in environ.items() if _is_harmless(name) or _is_passed(name, patterns)}
    chosen[PARENT_VARIABLE] = str(os.getpid())
    if heartbeat_seconds:
        chosen[HEARTBEAT_VARIABLE] = f"{heartbeat_seconds:.3f}"
    return chosen


def _is_harmless(name: str) -> bool:
    upper = name.upper()
    return (upper in _NAMES or upper.startswith(_PREFIXES)) and not _SECRET.search(name)


def _is_passed(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)
