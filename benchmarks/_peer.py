"""A virtual environment for neural-tangents, which today's JAX can't import.

Version 0.6.5 (the last one) runs on JAX 0.4.23 to 0.4.25 with NumPy 1. pip also brings TensorFlow,
which the package requires through tf2jax. The environment is made once, in the user's cache folder
or where `--peer-env` says, and used again if it is complete.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path

REQUIREMENTS = (
    "neural-tangents==0.6.5",
    "jax==0.4.25",
    "jaxlib==0.4.25",
    "numpy==1.26.4",
    "scipy==1.12.0",
)
PYTHONS = ((3, 11), (3, 10), (3, 12))  # that jaxlib 0.4.25 has wheels for, the best tried first
QUIET = {"TF_CPP_MIN_LOG_LEVEL": "3", "JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": ""}


def default_folder() -> Path:
    caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(caches) / "whydeep" / "peers" / "neural-tangents-0.6.5"


def size_on_disk(folder: Path) -> int:
    """Bytes that the files of a folder occupy (each once, however many links it has)."""
    seen, total = set(), 0
    for root, _, names in os.walk(folder):
        for name in names:
            status = (Path(root) / name).lstat()
            if (status.st_dev, status.st_ino) not in seen:
                seen.add((status.st_dev, status.st_ino))
                total += status.st_blocks * 512
    return total


def peer_python(folder: Path | None = None) -> Path:
    """The Python of the peer's environment, which is made if it is not complete."""
    folder = Path(folder or default_folder()).expanduser().absolute()
    python = folder / "bin" / "python"
    marker = folder / "complete.json"
    if marker.exists() and json.loads(marker.read_text())["requirements"] == list(REQUIREMENTS):
        return python
    if folder.exists() and any(folder.iterdir()) and not (folder / "pyvenv.cfg").exists():
        sys.exit(f"{folder} exists and is not a virtual environment: choose another --peer-env")
    print(f"making the peer's environment, about 2.6 GB, in {folder}", file=sys.stderr)
    shutil.rmtree(folder, ignore_errors=True)
    begin = time.perf_counter()
    subprocess.run([_base_python(), "-m", "venv", folder], check=True)
    options = ["--quiet", "--disable-pip-version-check", "--no-input"]
    subprocess.run([python, "-m", "pip", "install", *options, *REQUIREMENTS], check=True)
    subprocess.run(
        [python, "-c", "import neural_tangents"], check=True, capture_output=True,
        env=os.environ | QUIET,
    )  # fmt: skip
    found = {
        "requirements": list(REQUIREMENTS),
        "seconds": round(time.perf_counter() - begin, 1),
        "bytes": size_on_disk(folder),
    }
    marker.write_text(json.dumps(found))
    return python


def environment_facts(python: Path) -> dict:
    """What was noted when the environment was made: seconds and bytes."""
    return json.loads((python.parents[1] / "complete.json").read_text())


def _base_python() -> str:
    if sys.version_info[:2] in PYTHONS:
        return getattr(sys, "_base_executable", sys.executable)
    for major, minor in PYTHONS:
        if found := shutil.which(f"python{major}.{minor}"):
            return found
    sys.exit(
        f"neural-tangents needs Python 3.10 to 3.12; this is {platform.python_version()} and no "
        "other was found on the path"
    )
