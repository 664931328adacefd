"""A real Apache Kafka on this machine, for tests and for trying things out; never for production.

Kafka's own jars are fetched with Maven once and run with Java, as one KRaft node that listens on the
loopback address only. `python -m streams.kafka_broker` runs one until it is interrupted.
"""

from __future__ import annotations

import argparse
import base64
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path
from types import TracebackType
from typing import Self

from kafka import KafkaAdminClient
from kafka.errors import KafkaError

from paaplus.errors import LogUnavailableError
from streams import kafka_jars
from streams.kafka_client import connect
from streams.kafka_settings import KafkaSettings

_START_S = 60.0
_STOP_S = 15.0

# One node has no copies to wait for. The session times let a broker that was killed come back within
# seconds: until its old session is over, the controller refuses it.
_PROPERTIES = """process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs={data}/logs
default.replication.factor=1
min.insync.replicas=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
auto.create.topics.enable=false
broker.session.timeout.ms=2000
broker.heartbeat.interval.ms=500
log.cleaner.backoff.ms=500
"""


class KafkaBroker:
    """A broker with its data in one folder. A context manager: entering starts, leaving stops it.

    Args:
        data: Folder of its data; kept. None: a temporary one, deleted on leaving.
        port: Of the listener; 0 = any free one, which stays the same over restarts.

    Attributes:
        url: `kafka://127.0.0.1:PORT`, for `open_log`.
        data: The folder of its data.
    """

    def __init__(self, data: str | Path | None = None, *, port: int = 0) -> None:
        self._temporary = data is None
        self.data = Path(tempfile.mkdtemp(prefix="kafka-") if data is None else data).absolute()
        free = _free_ports(2)
        self._port = port or free[0]
        self._controller = free[1]
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"kafka://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Start on the data that is there, and wait until it answers.

        Raises:
            MissingDependencyError: Java or Maven is not installed.
            LogUnavailableError: The jars cannot be fetched, or it does not come up.
        """
        if self._process is not None:
            return
        jars = kafka_jars.fetch_jars()
        logs = self.data / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        if not (logs / "meta.properties").exists():
            # All that Kafka's format tool would write for one fixed voter, without starting a JVM.
            cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
            (logs / "meta.properties").write_text(f"version=1\ncluster.id={cluster}\nnode.id=1\n")
        page = self.data / "server.properties"
        page.write_text(
            _PROPERTIES.format(controller=self._controller, port=self._port, data=self.data)
        )
        command = ["java", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
        command += ["-cp", f"{jars}/*", "kafka.Kafka", str(page)]
        with (self.data / "broker.log").open("ab") as output:
            self._process = subprocess.Popen(  # noqa: S603 - our own words
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )
        try:
            self._wait()
        except BaseException:
            self.kill()
            raise

    def stop(self) -> None:
        """Shut down in order; the data stays."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def kill(self) -> None:
        """SIGKILL: what a power cut looks like to clients."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self._clean()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()
        self._clean()

    def _clean(self) -> None:
        if self._temporary:
            shutil.rmtree(self.data, ignore_errors=True)

    def _wait(self) -> None:
        settings = KafkaSettings(servers=(f"127.0.0.1:{self._port}",))
        deadline = time.monotonic() + _START_S
        while time.monotonic() < deadline:
            assert self._process is not None
            if self._process.poll() is not None:
                break
            # The socket first: it is quicker than a client that backs off.
            if _listens(self._port):
                try:
                    connect(KafkaAdminClient, settings).close()
                    return
                except KafkaError:
                    pass
            time.sleep(0.1)
        told = (self.data / "broker.log").read_text(errors="replace").splitlines()[-15:]
        raise LogUnavailableError(
            f"Kafka did not come up on port {self._port} within {_START_S:.0f} s:\n"
            + "\n".join(told),
            f"the whole of what it said is in {self.data}/broker.log",
        )


def _free_ports(count: int) -> list[int]:
    held = [socket.socket() for _ in range(count)]
    try:
        for one in held:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in held]
    finally:
        for one in held:
            one.close()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def main(words: list[str] | None = None) -> int:
    """Run a broker in the foreground until SIGINT or SIGTERM; 0 = it was asked to end."""
    parser = argparse.ArgumentParser(prog="python -m streams.kafka_broker", description=__doc__)
    parser.add_argument("--data", type=Path, help="folder of its data (default: a temporary one)")
    parser.add_argument("--port", type=int, default=0, help="default: any free one")
    given = parser.parse_args(words)
    missing = kafka_jars.missing()
    if missing is not None:
        print(missing, file=sys.stderr)
        return 2

    def end(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, end)
    try:
        with KafkaBroker(given.data, port=given.port) as broker:
            print(f"{broker.url}\ntry it:  paaplus demo --log {broker.url}", flush=True)
            while True:
                time.sleep(3600)
    except KeyboardInterrupt:
        return 0
    except LogUnavailableError as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
