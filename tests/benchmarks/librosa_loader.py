"""The peer of prepare.py: a loop of librosa.load at 16 kHz, the way tutorials load a corpus.

Prints JSON: seconds of the first pass (with what librosa imports and compiles on its first call), seconds and CPU
seconds of a second one in the same process, the process' peak memory, and librosa's version. Run with a Python that
has librosa:

    python librosa_loader.py FOLDER
"""

import json
import resource
import sys
import time
from pathlib import Path

import librosa


def load(folder: Path) -> tuple[float, float]:
    """Load every WAV of the folder and keep it, as float32 at 16 kHz; seconds and CPU seconds."""
    start_s, start_cpu_s = time.perf_counter(), time.process_time()
    clips = [librosa.load(path, sr=16_000)[0] for path in sorted(folder.glob("*.wav"))]
    assert clips
    return time.perf_counter() - start_s, time.process_time() - start_cpu_s


if __name__ == "__main__":
    first_s, _ = load(Path(sys.argv[1]))
    again_s, again_cpu_s = load(Path(sys.argv[1]))
    memory_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    times = {"first_s": first_s, "again_s": again_s, "again_cpu_s": again_cpu_s}
    print(json.dumps({**times, "memory_bytes": memory_bytes, "version": librosa.__version__}))
