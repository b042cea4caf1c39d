"""One process serves a data folder."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from service.errors import ServiceError
from service.state.data_folder import lock_data_folder

HOLD = """
import sys, time
from pathlib import Path
from service.state.data_folder import lock_data_folder
lock = lock_data_folder(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(60)
"""


def test_a_killed_process_gives_the_data_folder_free(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], cwd=root, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(ServiceError, match=f"pid {holder.pid}") as caught:
            lock_data_folder(tmp_path)
        assert caught.value.reason == "DATA_FOLDER_LOCKED"
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    with lock_data_folder(tmp_path), pytest.raises(ServiceError, match=f"pid {os.getpid()}"):
        lock_data_folder(tmp_path)
    lock_data_folder(tmp_path).release()
