"""SLURM on this machine alone, for as long as a test needs it.

It is Debian's own, with accounting: submitit asks `sacct` what became of a job. The daemons are
children of the test, know only the loopback interface and keep all their files in one folder.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

PACKAGES = "slurmctld slurmd slurm-client munge slurmdbd mariadb-server"
PROGRAMS = ("munged", "mariadb-install-db", "mariadbd", "slurmdbd", "slurmctld", "slurmd", "sbatch")
PATIENCE = 30.0  # seconds from the first daemon to a node that takes jobs

# The node has two cores and 8 GB whatever the machine has. A job in the partition `urgent` takes
# the cores from those in `all`, which get the signal of their `--signal` and are queued again.
# SLURM's own delays are made short: before the first attempt to start a job, before one that was
# requeued may start (`cred_expire`), and from SIGTERM to SIGKILL (`KillWait`).
SLURM_CONF = """\
ClusterName=test
SlurmctldHost=localhost
SlurmctldPort={controller_port}
SlurmdPort={node_port}
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
SlurmUser={user}
SlurmdUser={user}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=localhost
AccountingStoragePort={accounting_port}
AccountingStoragePass={folder}/munge.socket
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=batch_sched_delay=0,sched_interval=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmctldParameters=preempt_send_user_signal
JobRequeue=1
KillWait=5
ReturnToService=2
SlurmdParameters=config_overrides
NodeName=localhost CPUs=2 RealMemory=8000
PartitionName=all Nodes=localhost Default=YES PriorityTier=1 GraceTime=20
PartitionName=urgent Nodes=localhost PriorityTier=2
"""

SLURMDBD_CONF = """\
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
DbdHost=localhost
DbdPort={accounting_port}
SlurmUser={user}
PidFile={folder}/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser={user}
"""


class NoSlurmError(Exception):
    """SLURM cannot be started on this machine."""


@contextlib.contextmanager
def slurm_machine(folder: Path) -> Iterator[None]:
    """Run SLURM, its files in the absolute ``folder``, and let ``SLURM_CONF`` lead commands to it.

    At the end, after an exception too, the daemons are stopped and what is left of the jobs is
    killed.

    Raises:
        NoSlurmError: programs are missing, or the node takes no jobs within half a minute.
    """
    path = f"{os.environ['PATH']}:/usr/sbin"
    missing = [program for program in PROGRAMS if not shutil.which(program, path=path)]
    if missing:
        raise NoSlurmError(f"SLURM is missing ({', '.join(missing)}): apt-get install {PACKAGES}")
    configuration = _write_configuration(folder)
    with pytest.MonkeyPatch.context() as environment, contextlib.ExitStack() as stack:
        environment.setenv("PATH", path)
        environment.setenv("SLURM_CONF", str(configuration))
        stack.callback(_kill_all_that_know, configuration)
        _start(folder, stack)
        yield


def _write_configuration(folder: Path) -> Path:
    for name in ("state", "spool"):
        (folder / name).mkdir()
    controller_port, node_port, accounting_port = _free_ports(3)
    values = {
        "folder": folder,
        "user": getpass.getuser(),
        "controller_port": controller_port,
        "node_port": node_port,
        "accounting_port": accounting_port,
    }
    configuration = folder / "slurm.conf"
    configuration.write_text(SLURM_CONF.format(**values))
    for secret, content in (
        ("munge.key", secrets.token_bytes(128)),
        ("slurmdbd.conf", SLURMDBD_CONF.format(**values).encode()),
    ):
        (folder / secret).touch(mode=0o600)
        (folder / secret).write_bytes(content)
    return configuration


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for free in sockets:
            free.bind(("127.0.0.1", 0))
        return [free.getsockname()[1] for free in sockets]


def _start(folder: Path, stack: contextlib.ExitStack) -> None:
    deadline = time.monotonic() + PATIENCE
    user = getpass.getuser()
    log = stack.enter_context((folder / "log").open("a+"))

    def give_up(program: str) -> NoSlurmError:
        log.seek(0)
        lines = log.read().splitlines() or ["it says nothing"]
        return NoSlurmError(f"{program} does not come up: {lines[-1]}")

    def start(*command: str, ready: Callable[[], bool], **variables: str) -> None:
        process = subprocess.Popen(
            command,
            stdout=log,
            stderr=log,
            env={**os.environ, **variables},
            start_new_session=True,  # Ctrl-C is for the test, which then stops the daemons
        )
        stack.callback(_stop, process)
        while not ready():
            if process.poll() is not None or time.monotonic() > deadline:
                raise give_up(command[0])
            time.sleep(0.1)

    def says(expected: str, *command: str) -> bool:
        try:
            answer = subprocess.run(
                command, stdout=subprocess.PIPE, stderr=log, text=True, timeout=5
            )
        except subprocess.TimeoutExpired:
            return False
        return answer.returncode == 0 and expected in answer.stdout

    munge, database = folder / "munge.socket", folder / "mariadb.socket"
    start(
        "munged",
        "--foreground",
        "--force",  # pytest's folders are closed to others, which munged would not have
        f"--socket={munge}",
        *(f"--{part}-file={folder}/munge.{part}" for part in ("key", "pid", "seed", "log")),
        ready=munge.exists,
    )
    tables = ("--no-defaults", f"--datadir={folder}/database", f"--user={user}")
    install = ("mariadb-install-db", *tables, f"--auth-root-socket-user={user}")
    if subprocess.run(install, stdout=log, stderr=log).returncode:
        raise give_up(install[0])
    start(
        "mariadbd",
        *tables,
        "--skip-networking",
        f"--socket={database}",
        f"--pid-file={folder}/mariadb.pid",
        ready=database.exists,
    )
    start(
        "slurmdbd",
        "-D",
        ready=lambda: says("", "sacctmgr", "--noheader", "list", "cluster"),
        MYSQL_UNIX_PORT=str(database),
    )
    start("slurmctld", "-D", ready=lambda: says("is UP", "scontrol", "ping"))
    start("slurmd", "-D", ready=lambda: says("idle", "sinfo", "--noheader", "--format=%T"))


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _kill_all_that_know(configuration: Path) -> None:
    """Kill the jobs, which outlive slurmd: those with this ``SLURM_CONF`` when they started."""
    mark = f"SLURM_CONF={configuration}".encode()
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if mark in (process / "environ").read_bytes().split(b"\0"):
                os.kill(int(process.name), signal.SIGKILL)
