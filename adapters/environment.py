"""What our children see of our environment: what they run with, and none of its credentials."""

import os
import re
from collections.abc import Collection

_NAMES = frozenset(
    "PATH HOME USER LOGNAME SHELL LANG LANGUAGE TZ TMPDIR TEMP TMP VIRTUAL_ENV CC CXX CPATH LIBRARY_PATH MAX_JOBS "
    "LD_LIBRARY_PATH LD_PRELOAD HTTP_PROXY HTTPS_PROXY NO_PROXY http_proxy https_proxy no_proxy SSL_CERT_FILE "
    "SSL_CERT_DIR REQUESTS_CA_BUNDLE CURL_CA_BUNDLE DO_NOT_TRACK".split()
)
_FAMILIES = re.compile(
    "(PYTHON|(LC|XDG|CUDA|NVIDIA|NCCL|HIP|ROCR|ROCM|VLLM|TORCH|TORCHINDUCTOR|PYTORCH|TRITON|TRANSFORMERS|TOKENIZERS|"
    "TIKTOKEN|HF|OMP|GOMP|KMP|MKL|OPENBLAS|NUMEXPR|NUMBA|MALLOC|GLOO|UCX)_)[A-Z0-9_]+"
)
_SECRET = re.compile("(.*_)?(TOKEN|SECRET|PASSWORD|KEY)(_.*)?")


def inherited(more: Collection[str] = ()) -> dict[str, str]:
    """The variables that a child gets: names and families that are known to matter to it, and ``more``.

    What looks like a secret has to be in ``more``.
    """
    known = (n for n in os.environ if (n in _NAMES or _FAMILIES.fullmatch(n)) and not _SECRET.fullmatch(n))
    return {name: os.environ[name] for name in (*known, *more) if name in os.environ}
