"""Apache Kafka's jars, fetched with Maven once and kept in the user's cache folder."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

from filelock import FileLock

from paaplus.errors import LogUnavailableError, MissingDependencyError

VERSION = "4.3.1"
_JAVA = 17
_FETCH_S = 900.0

_POM = f"""<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>paaplus</groupId><artifactId>kafka-broker</artifactId><version>1</version>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>{VERSION}</version>
    </dependency>
    <dependency>
      <groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>1.7.36</version>
    </dependency>
  </dependencies>
</project>
"""


def missing() -> str | None:
    """What has to be installed before a broker can be run; None = nothing."""
    java = shutil.which("java")
    found = _java_version(java) if java is not None else 0
    if found < _JAVA:
        have = f"found {found}" if found else "found none"
        return f"Kafka needs Java {_JAVA} or later ({have}): install e.g. openjdk-17-jre-headless"
    if shutil.which("mvn") is None and not (cache_folder() / "complete").exists():
        return "Kafka's jars are fetched with Maven, which is not here: install e.g. maven"
    return None


def cache_folder() -> Path:
    """Where the jars are kept."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "paaplus" / f"kafka-{VERSION}"


def fetch_jars() -> Path:
    """The folder of Kafka's jars; fetched (44 MB) the first time, by one process.

    Raises:
        MissingDependencyError: Java or Maven is not installed.
        LogUnavailableError: Maven could not fetch them.
    """
    absent = missing()
    if absent is not None:
        raise MissingDependencyError(absent)
    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    jars, done = folder / "lib", folder / "complete"
    with FileLock(folder / "lock"):
        if not done.exists():
            (folder / "pom.xml").write_text(_POM)
            command = ["mvn", "-q", "-B", "-f", str(folder / "pom.xml")]
            command += ["dependency:copy-dependencies", "-DincludeScope=runtime"]
            command += [f"-DoutputDirectory={jars}"]
            try:
                result = subprocess.run(  # noqa: S603 - our own words
                    command, capture_output=True, text=True, timeout=_FETCH_S, check=False
                )
                told = (result.stdout + result.stderr)[-2000:]
            except subprocess.TimeoutExpired:
                result, told = None, f"Maven took more than {_FETCH_S:.0f} s"
            if result is None or result.returncode != 0:
                raise LogUnavailableError(
                    f"Kafka's jars could not be fetched: {told}",
                    "check the network and Maven's settings.xml (a proxy or mirror goes there)",
                )
            done.touch()
    return jars


def _java_version(java: str) -> int:
    try:
        result = subprocess.run(  # noqa: S603 - found on the PATH by us
            [java, "-version"], capture_output=True, text=True, timeout=60, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return 0
    # Up to Java 8 it is called 1.8.
    found = re.search(r'version "(?:1\.)?(\d+)', result.stderr)
    return int(found[1]) if found else 0
