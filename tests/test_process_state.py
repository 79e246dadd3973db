"""Nothing of the user's process is changed by a public call: random numbers, settings, filters.

Every call runs in one process that starts anew, as what is imported first does most of the harm.
"""

import os
import subprocess
import sys
from pathlib import Path

from tests.support import require

WATCH = '''
import contextlib, decimal, gc, io, locale, logging, os, random, signal, sys, tempfile, threading
import time, warnings
import numpy as np

def state():
    """What a user would notice, by name."""
    found = {
        "random": hash(random.getstate()),
        "numpy.random": tuple(map(str, np.random.get_state(legacy=False)["state"].values())),
        "errors of numpy": tuple(np.geterr().items()),
        "printing of numpy": str(np.get_printoptions()),
        # scipy.sparse adds this one, and scikit-learn and PyTorch those, when they are imported.
        "filters of warnings": tuple(str(f) for f in warnings.filters if "matrix" not in str(f)),
        "environment": tuple((k, v) for k, v in sorted(os.environ.items())
                             if not k.startswith(("KMP_", "TORCHINDUCTOR_CACHE_DIR"))),
        "locale": locale.setlocale(locale.LC_ALL),
        "signals": tuple(str(signal.getsignal(s)) for s in sorted(signal.valid_signals())
                         if s not in (signal.SIGKILL, signal.SIGSTOP)),
        "recursion": sys.getrecursionlimit(),
        "hooks": (sys.excepthook, threading.excepthook, sys.displayhook),
        "decimal": str(decimal.getcontext()),
        "logging": (logging.root.level, tuple(logging.root.handlers), logging.root.manager.disable),
        "collection": (gc.isenabled(), gc.get_threshold()),
        "folder": os.getcwd(),
    }
    mask = os.umask(0o22)
    os.umask(mask)
    found["umask"] = mask
    if "jax" in sys.modules:
        import jax
        found["jax"] = tuple((k, str(v)) for k, v in sorted(jax.config.values.items()))
        found["jax, in context"] = (jax.numpy.zeros(1).dtype.name,
                                    jax.config.jax_default_matmul_precision)
    if "torch" in sys.modules:
        import torch
        found["torch"] = (
            hash(torch.get_rng_state().numpy().tobytes()), str(torch.get_default_dtype()),
            torch.get_num_threads(), torch.is_grad_enabled(), torch.is_inference_mode_enabled(),
            torch.backends.mha.get_fastpath_enabled(), torch.are_deterministic_algorithms_enabled(),
        )
    if "threadpoolctl" in sys.modules:
        from threadpoolctl import threadpool_info
        found["threads"] = tuple((i["filepath"], i["num_threads"]) for i in threadpool_info())
    if "sklearn" in sys.modules:
        import sklearn
        found["sklearn"] = tuple(map(str, sklearn.get_config().items()))
    if "xarray" in sys.modules:
        import xarray
        found["xarray"] = tuple(map(str, sorted(xarray.get_options().items())))
    if "mpmath" in sys.modules:
        found["mpmath"] = sys.modules["mpmath"].mp.dps
    if "numba" in sys.modules:
        import numba
        found["numba"] = (numba.config.NUMBA_NUM_THREADS, numba.config.CACHE_DIR)
    return found

@contextlib.contextmanager
def unchanged(call):
    before = state()
    yield
    after = state()
    for name in before:  # what a library that was imported meanwhile has by itself is not known
        if before[name] != after[name]:
            old, new = before[name], after[name]
            if isinstance(old, tuple) and isinstance(new, tuple):
                old, new = [o for o in old if o not in new], [n for n in new if n not in old]
            if name == "threads" and not old:
                continue  # a library that was loaded meanwhile
            print(f"{call} changed {name}: {str(old)[:400]} -> {str(new)[:400]}")
'''


def changes(program):
    """What the process says that has been changed, line by line."""
    source = str(Path(__file__).parents[1] / "src")
    ran = subprocess.run(
        [sys.executable, "-c", WATCH + program],
        env={**os.environ, "PYTHONPATH": source},
        capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    return [line for line in ran.stdout.splitlines() if " changed " in line]


def test_whatever_takes_long_leaves_the_random_numbers_alone():
    """The display of progress drew one, whenever anything first took over two seconds."""
    program = """
from whydeep import progress
progress._PATIENCE = 0.0
with unchanged("a line of progress"), progress.phase("working"):
    time.sleep(0.3)

class Terminal(io.StringIO):
    def isatty(self):
        return True

sys.stderr = Terminal()
os.environ["TERM"] = "xterm"
with unchanged("a spinner"), progress.phase("working"):
    time.sleep(0.3)
with unchanged("a bar"), progress.progress_bar("working", 3) as advance:
    time.sleep(0.3)
    advance()
assert "working" in sys.stderr.getvalue()
"""
    assert changes(program) == []


def test_a_display_that_does_draw_is_seen():
    """The watch itself: each of these is noticed."""
    program = """
with unchanged("one"):
    random.random()
with unchanged("two"):
    np.random.rand()
with unchanged("three"):
    warnings.simplefilter("ignore")
with unchanged("four"):
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
"""
    assert [line.split(":")[0] for line in changes(program)] == [
        "one changed random", "two changed numpy.random", "three changed filters of warnings",
        "four changed signals",
    ]  # fmt: skip


CALLS = """
import whydeep as wd
with unchanged("importing"):
    import whydeep as wd
from whydeep import progress
progress._PATIENCE = 0.0
x = np.array([[1.0, 0.5], [0.2, -1.0], [0.7, 0.1]])
y = np.array([[0.0], [1.0], [0.5]])
net = wd.mlp(2, 8, "tanh")
folder = tempfile.mkdtemp()
"""
ROOMS = {
    "predict": "wd.predict(net, x)",
    "measure": "wd.measure(net, x, draws=400)",
    "kernel": "wd.kernel(net, x)",
    "convolutions": "wd.kernel(wd.cnn(1, 4), np.ones((2, 4, 4, 1)))",
    "training": "wd.predict_training(net, x, y, x, times=[1.0])",
    "trained": "wd.train(net, x, y, x, draws=4, steps=3, step=0.1)",
    "estimator": "wd.NTKRegressor(net).fit(x, y).predict(x)",
    "classifier": "wd.NNGPClassifier(net).fit(x, [0, 1, 1]).predict(x)",
    "tangent": "wd.tangent_kernel(lambda p, x: jax.numpy.tanh(x @ p), np.ones((2, 1)), x)",
    "read": "wd.from_jax(lambda p, x: jax.numpy.tanh(x @ p), "
            "lambda k: jax.random.normal(k, (2, 16)), x)",
    "critical": 'wd.critical("tanh")',
    "posterior": "wd.posterior(net, x, y, x)",
    "geometry": "wd.geometry.regions(wd.geometry.from_layers([np.eye(2), np.ones((1, 2))], "
                "[np.zeros(2), np.zeros(1)]), np.zeros(2), np.eye(2)[0], np.eye(2)[1])",
    "hull": "wd.geometry.in_hull(x, np.random.default_rng(0).normal(size=(20, 2)))",
    "dimension": "wd.geometry.intrinsic_dimension("
                 "np.random.default_rng(0).normal(size=(200, 2)))",
    "report": "compared()",
}  # fmt: skip


def test_public_calls_change_nothing():
    calls = "\n".join(
        f"with unchanged({name!r}):\n    answer = {call}" for name, call in ROOMS.items()
    )
    program = f"""{CALLS}
import jax

def compared():
    predicted = wd.predict(net, x, observables=("kernel",))
    measured = wd.measure(net, x, draws=400, observables=("kernel",))
    table = wd.compare(predicted, measured)
    str(table), repr(table)
    wd.write_report(folder + "/report.html", predicted, measured, table)

warnings.simplefilter("ignore")
{calls}
"""
    assert changes(program) == []


def test_reading_a_module_changes_nothing():
    require("torch")
    program = f"""{CALLS}
import torch
warnings.simplefilter("ignore")
module = torch.nn.Sequential(torch.nn.Linear(2, 16), torch.nn.Tanh(), torch.nn.Linear(16, 1))
with unchanged("reading"):
    read = wd.from_torch(module, torch.zeros(3, 2))
with unchanged("its kernel"):
    wd.kernel(read, x)
with unchanged("its tangent kernel"):
    wd.tangent_kernel(module, None, torch.ones(2, 2))
"""
    assert changes(program) == []
