"""Says what an image lacks to run Spark drivers or executors for Sparkyard. One file, for any Python from 3.8 on.

It runs inside the image, which has nothing of ours, by way of its standard input; or it looks at the image's files
where they are unpacked. What it finds is the same, but that inside it also starts what it has found.

    sparkyard-image script | docker run --rm -i IMAGE python3 - --for driver --spark 3.5
    sparkyard-image check --root FOLDER --config FILE --for executor --spark 3.5 --python 3.11

Words used here:

    root      the folder in which the image's files are; `/` inside of it
    facts     what is there: read from files, never by running them
    verdict   whether something that is needed is there: "ok", "lacks" what it can't do without, or a "note"
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import stat
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_SECONDS = 60
_JAVA = {"3": (8, 11, 17), "4": (17, 21)}
"""The versions of Java that a Spark of this major version is released for."""
_POD_UID = 185
OK, LACKS, NOTE = "ok", "lacks", "note"


class Root:
    """The image's files. Links are followed as the image would: an absolute one begins at the root again."""

    def __init__(self, folder: str = "/") -> None:
        self.folder = os.path.abspath(folder)

    def real(self, path: str) -> str:
        """Where a path of the image's leads, as a path of the image's; an empty text where the links go in circles."""
        left = [part for part in path.split("/") if part]
        done: list[str] = []
        links = 0
        while left:
            part = left.pop(0)
            if part == "..":
                done = done[:-1]
                continue
            if part == ".":
                continue
            here = self.outside("/" + "/".join([*done, part]))
            if not os.path.islink(here):
                done.append(part)
                continue
            links += 1
            if links > 40:
                return ""
            target = os.readlink(here)
            if target.startswith("/"):
                done = []
            left = [piece for piece in target.split("/") if piece] + left
        return "/" + "/".join(done)

    def outside(self, path: str) -> str:
        """The same path as this machine has it."""
        return os.path.join(self.folder, path.lstrip("/"))

    def names(self, path: str) -> list[str]:
        """What is in a folder; nothing where there is none."""
        try:
            return sorted(os.listdir(self.outside(self.real(path))))
        except OSError:
            return []

    def is_file(self, path: str) -> bool:
        """Whether there is a file."""
        return os.path.isfile(self.outside(self.real(path)))

    def is_folder(self, path: str) -> bool:
        """Whether there is a folder."""
        return os.path.isdir(self.outside(self.real(path)))

    def text(self, path: str) -> str:
        """A file's text, or nothing."""
        try:
            with open(self.outside(self.real(path)), encoding="utf-8", errors="replace") as stream:
                return stream.read(1_000_000)
        except OSError:
            return ""

    def runs(self, path: str) -> bool:
        """Whether this is a program that somebody may run."""
        real = self.real(path)
        return self.is_file(path) and bool(os.stat(self.outside(real)).st_mode & 0o111)

    def which(self, name: str, search: str) -> str:
        """A program on the image's PATH, or nothing."""
        for folder in search.split(":"):
            if folder.startswith("/") and self.runs(f"{folder}/{name}"):
                return f"{folder}/{name}"
        return ""

    def closed(self, path: str) -> str:
        """The first part of a path that a user without any right of its own can't pass or read, or nothing."""
        parts = [part for part in self.real(path).split("/") if part]
        for at in range(len(parts)):
            here = "/" + "/".join(parts[: at + 1])
            try:
                mode = os.stat(self.outside(here)).st_mode
            except OSError:
                return here
            wanted = stat.S_IROTH | (stat.S_IXOTH if stat.S_ISDIR(mode) else 0)
            if mode & wanted != wanted:
                return here
        return ""


@dataclass(frozen=True)
class Facts:
    """What an image has. An empty text where there is nothing."""

    python: str = ""
    python_version: str = ""
    spark_home: str = ""
    spark_version: str = ""
    jars: Sequence[str] = ()
    java: str = ""
    java_version: int = 0
    pyspark: str = ""
    """Where the driver's Python would import pyspark from."""
    py4j: str = ""
    libraries: Sequence[str] = ()
    shell: bool = False
    bash: bool = False
    submit: bool = False
    user: int | None = None
    """None where nobody has said."""
    closed: Mapping[str, str] = field(default_factory=dict)
    """Of what others may not read: the first folder or file that is shut."""
    r: str = ""
    sparkr: bool = False
    ours: Sequence[str] = ()


@dataclass(frozen=True)
class Wanted:
    """What the image is for, and what it has to go with."""

    role: str = "driver"
    spark: str = ""
    python: str = ""


@dataclass(frozen=True)
class Verdict:
    """One thing that was looked at, in a sentence."""

    kind: str
    about: str
    text: str


def look(root: Root, environment: Mapping[str, str], user: int | None) -> Facts:
    """Collect the facts."""
    search = environment.get("PATH") or _PATH
    python = root.which("python3", search)
    folders = _import_folders(root, python, environment)
    pyspark = _importable(root, folders, "pyspark")
    home = environment.get("SPARK_HOME", "") or (pyspark if root.is_folder(f"{pyspark}/jars") else "")
    jars = root.names(f"{home}/jars") if home else []
    java = _java(root, environment, search)
    looked = {"Python": python, "Spark": f"{home}/jars" if jars else "", "pyspark": pyspark, "Java": java}
    return Facts(
        python=python,
        python_version=_python_version(root, python),
        spark_home=home,
        spark_version=_version_of("spark-core_", jars),
        jars=jars,
        java=java,
        java_version=_java_version(root, java),
        pyspark=pyspark,
        py4j=_importable(root, folders, "py4j"),
        libraries=[name for name in ("pandas", "pyarrow", "numpy", "matplotlib") if _importable(root, folders, name)],
        shell=bool(root.which("sh", search)),
        bash=bool(root.which("bash", search)),
        submit=bool(home) and root.runs(f"{home}/bin/spark-submit"),
        user=user,
        closed={what: shut for what, path in looked.items() if path for shut in [root.closed(path)] if shut},
        r=_r(root, environment, search),
        sparkr=bool(home) and root.is_folder(f"{home}/R/lib/SparkR"),
        ours=[name for name in ("sparkyard_gateway", "sparkyard_hub") if _importable(root, folders, name)],
    )


def judge(facts: Facts, wanted: Wanted) -> list[Verdict]:
    """What the facts are worth."""
    return [
        *_judge_spark(facts, wanted),
        *_judge_java(facts),
        *_judge_python(facts, wanted),
        *_judge_programs(facts, wanted),
        *_judge_user(facts),
        *_judge_more(facts, wanted),
    ]


def _judge_spark(facts: Facts, wanted: Wanted) -> Iterator[Verdict]:
    if not facts.spark_home:
        yield Verdict(LACKS, "Spark", "there is none: SPARK_HOME is not set, and python3 has no pyspark with its jars")
        return
    if not facts.spark_version:
        where = f"{facts.spark_home}/jars"
        yield Verdict(LACKS, "Spark", f"there is none where SPARK_HOME says: {where} has no spark-core_*.jar")
        return
    if wanted.spark and not _begins(facts.spark_version, wanted.spark):
        told = f"{facts.spark_home} has Spark {facts.spark_version}, and {wanted.spark} is wanted"
        yield Verdict(LACKS, "Spark", told)
    else:
        yield Verdict(OK, "Spark", f"{facts.spark_version} in {facts.spark_home}")
    if not _version_of("spark-kubernetes_", facts.jars):
        told = f"{facts.spark_home}/jars has no spark-kubernetes_*.jar, without which it can't run on Kubernetes"
        yield Verdict(LACKS, "Spark on Kubernetes", told)
    if wanted.role == "driver" and not _version_of("spark-repl_", facts.jars):
        yield Verdict(NOTE, "Scala", "there is no spark-repl_*.jar: cells in Scala will say so")


def _judge_java(facts: Facts) -> Iterator[Verdict]:
    if not facts.java:
        yield Verdict(LACKS, "Java", "there is none: no java on the PATH, and none in JAVA_HOME")
        return
    fitting = _JAVA.get(facts.spark_version.partition(".")[0], ())
    if not facts.java_version:
        yield Verdict(NOTE, "Java", f"{facts.java} is there, of a version that its files do not tell")
    elif fitting and facts.java_version not in fitting:
        some = ", ".join(map(str, fitting))
        told = f"{facts.java} is Java {facts.java_version}, and Spark {facts.spark_version} is made for {some}"
        yield Verdict(LACKS if facts.java_version < fitting[0] else NOTE, "Java", told)
    else:
        yield Verdict(OK, "Java", f"{facts.java_version} at {facts.java}")


def _judge_python(facts: Facts, wanted: Wanted) -> Iterator[Verdict]:
    if not facts.python:
        yield Verdict(LACKS, "Python", "there is none: no python3 on the PATH, by which drivers and executors call it")
        return
    version = facts.python_version
    if not version:
        yield Verdict(NOTE, "Python", f"{facts.python} is there, of a version that its files do not tell")
    elif _numbers(version) < (3, 8):
        yield Verdict(LACKS, "Python", f"{facts.python} is Python {version}; the driver program needs 3.8 or later")
    elif wanted.python and not _begins(version, wanted.python):
        told = (
            f"{facts.python} is Python {version}, and {wanted.python} is wanted: driver and executors need the same "
            "minor version, or functions do not get from one to the other"
        )
        yield Verdict(LACKS, "Python", told)
    else:
        yield Verdict(OK, "Python", f"{version} at {facts.python}")
    if wanted.role != "driver":
        return
    if not facts.pyspark or not facts.py4j:
        absent = "pyspark" if not facts.pyspark else "py4j"
        told = (
            f"{facts.python} can't import {absent}: install pyspark of Spark's version, or set PYTHONPATH to "
            f"{facts.spark_home or '$SPARK_HOME'}/python and the py4j-*-src.zip in its lib"
        )
        yield Verdict(LACKS, "pyspark", told)
    else:
        yield Verdict(OK, "pyspark", f"from {facts.pyspark}")


def _judge_programs(facts: Facts, wanted: Wanted) -> Iterator[Verdict]:
    if wanted.role == "executor":
        if not facts.shell:
            yield Verdict(LACKS, "shell", "there is no sh on the PATH, by which an executor is started")
        return
    if facts.spark_version and not facts.submit:
        told = f"there is no {facts.spark_home}/bin/spark-submit that may be run, by which a driver's JVM is started"
        yield Verdict(LACKS, "spark-submit", told)
    if not facts.bash:
        yield Verdict(LACKS, "bash", "there is none on the PATH, and Spark's own scripts are written in it")


def _judge_user(facts: Facts) -> Iterator[Verdict]:
    if facts.user is None:
        yield Verdict(NOTE, "user", "not known: give --config, or run this inside of the image")
    elif facts.user == 0:
        told = f"the image runs as root: end its Dockerfile with USER {_POD_UID}, which is the uid that pods get anyway"
        yield Verdict(LACKS, "user", told)
    else:
        yield Verdict(OK, "user", f"uid {facts.user}")
    for what, shut in facts.closed.items():
        told = f"{shut} can't be read by others, and pods run as uid {_POD_UID}, whoever owns the files: chmod o+rX"
        yield Verdict(LACKS, f"{what}'s files", told)


def _judge_more(facts: Facts, wanted: Wanted) -> Iterator[Verdict]:
    if facts.libraries:
        yield Verdict(OK, "libraries", ", ".join(facts.libraries))
    if not {"pandas", "pyarrow"} <= set(facts.libraries):
        yield Verdict(NOTE, "libraries", "pandas and pyarrow are not both there: pandas functions on Spark need them")
    if wanted.role == "driver":
        if not facts.r:
            yield Verdict(NOTE, "R", "there is none: statements of kind sparkr will say so")
        elif not facts.sparkr:
            told = f"{facts.r}, without SparkR in {facts.spark_home or '$SPARK_HOME'}/R/lib: R will run without Spark"
            yield Verdict(NOTE, "R", told)
        else:
            yield Verdict(OK, "R", f"{facts.r}, with SparkR")
    if facts.ours:
        yield Verdict(NOTE, "Sparkyard", f"{', '.join(facts.ours)} is there and not needed: the driver comes along")


def tries(facts: Facts, environment: Mapping[str, str]) -> Iterator[Verdict]:
    """Inside of the image: start what was found, as files can be there and broken."""
    wanted = [("Java", [facts.java, "-version"]), ("Python", [facts.python, "-c", "import ssl, sqlite3, ctypes"])]
    if facts.pyspark:
        wanted.append(("pyspark", [facts.python, "-c", "import pyspark.sql"]))
    for about, command in wanted:
        if not command[0]:
            continue
        shown = " ".join(command)
        try:
            ran = subprocess.run(
                command, env=dict(environment), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT, timeout=_SECONDS, check=False,
            )  # fmt: skip
        except (OSError, subprocess.SubprocessError) as error:
            yield Verdict(LACKS, about, f"`{shown}` can't be run: {error}")
            continue
        if ran.returncode:
            last = ran.stdout.decode("utf-8", "replace").strip().splitlines()[-1:]
            yield Verdict(LACKS, about, f"`{shown}` ends with code {ran.returncode}: {''.join(last)}")


def _told_by(python: str, environment: Mapping[str, str]) -> str:
    """A Python's own word for its version: one that is a script, such as pyenv's, shows it in no file."""
    command = [python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        ran = subprocess.run(
            command, env=dict(environment), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, timeout=_SECONDS, check=False,
        )  # fmt: skip
        text = ran.stdout.decode("ascii", "replace").strip()
        return text if re.match(r"3\.\d+$", text) else ""
    return ""


def _import_folders(root: Root, python: str, environment: Mapping[str, str]) -> list[str]:
    """Where the image's Python looks for packages."""
    folders = [each for each in environment.get("PYTHONPATH", "").split(":") if each]
    if not python:
        return folders
    # A virtual environment's python3 is a link to another one's, and packages are beside the link.
    prefixes = [os.path.dirname(os.path.dirname(path)) or "/" for path in (python, root.real(python))]
    for prefix in dict.fromkeys([*prefixes, "/usr/local", "/usr"]):
        for name in root.names(f"{prefix}/lib"):
            if name.startswith("python3"):
                folders += [f"{prefix}/lib/{name}/{kind}-packages" for kind in ("site", "dist")]
        if _is_environment(root, prefix):
            break  # which sees nothing of the system's
    return folders


def _is_environment(root: Root, prefix: str) -> bool:
    told = root.text(f"{prefix}/pyvenv.cfg")
    return bool(told) and not re.search(r"include-system-site-packages\s*=\s*true", told)


def _importable(root: Root, folders: Sequence[str], name: str) -> str:
    for folder in folders:
        if root.is_folder(f"{folder}/{name}"):
            return f"{folder}/{name}"
        archive = folder.rpartition("/")[2]
        if archive.endswith(".zip") and archive.startswith(name) and root.is_file(folder):
            return folder
    return ""


def _python_version(root: Root, python: str) -> str:
    if not python:
        return ""
    found = re.search(r"python(3\.\d+)$", root.real(python))
    if found:
        return found.group(1)
    prefix = os.path.dirname(os.path.dirname(python))
    told = re.search(r"^version(?:_info)?\s*=\s*(\d+\.\d+)", root.text(f"{prefix}/pyvenv.cfg"), re.MULTILINE)
    if told:
        return told.group(1)
    beside = os.path.dirname(os.path.dirname(root.real(python)))
    versions = [name[6:] for name in root.names(f"{beside}/lib") if re.match(r"python3\.\d+$", name)]
    return versions[0] if len(versions) == 1 else ""


def _java(root: Root, environment: Mapping[str, str], search: str) -> str:
    home = environment.get("JAVA_HOME", "")
    if home:
        return f"{home}/bin/java" if root.runs(f"{home}/bin/java") else ""
    return root.which("java", search)


def _java_version(root: Root, java: str) -> int:
    if not java:
        return 0
    real = root.real(java)
    home = os.path.dirname(os.path.dirname(real))
    found = re.search(r'^JAVA_VERSION="(?:1\.)?(\d+)', root.text(f"{home}/release"), re.MULTILINE) or re.search(
        r"(?:java|jdk|jre|openjdk)-?(?:1\.)?(\d+)", real
    )
    return int(found.group(1)) if found else 0


def _r(root: Root, environment: Mapping[str, str], search: str) -> str:
    home = environment.get("R_HOME", "")
    return f"{home}/bin/R" if home and root.runs(f"{home}/bin/R") else root.which("R", search)


def _version_of(jar: str, jars: Sequence[str]) -> str:
    for name in jars:
        found = re.match(re.escape(jar) + r"[\d.]+-(.+)\.jar$", name)
        if found:
            return found.group(1)
    return ""


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:2])


def _begins(version: str, wanted: str) -> bool:
    return version == wanted or version.startswith((f"{wanted}.", f"{wanted}-"))


# The command --------------------------------------------------------------------------------------------------------


def configuration(text: str, root: Root) -> tuple[dict[str, str], int | None]:
    """Environment and user of an image: what docker, podman or buildah `inspect`, or `skopeo inspect --config`, says.

    Raises ValueError where it is something else.
    """
    told: Any = json.loads(text)
    if isinstance(told, list) and told:
        told = told[0]
    told = told.get("OCIv1", told) if isinstance(told, dict) else {}  # buildah's
    found = told.get("Config") or told.get("config")
    if not isinstance(found, dict):
        raise ValueError("it has no Config")  # noqa: TRY004  what it holds is wrong, whatever its type
    pairs = [each.partition("=") for each in found.get("Env") or []]
    user = str(found.get("User") or "0").partition(":")[0]
    if not user.isdigit():
        named = re.search(rf"^{re.escape(user)}:[^:]*:(\d+):", root.text("/etc/passwd"), re.MULTILINE)
        user = named.group(1) if named else ""
    return {name: value for name, _, value in pairs}, int(user) if user else None


def shown(verdicts: Sequence[Verdict], wanted: Wanted) -> str:
    """For a person: what is lacking last, where it is read."""
    order = [OK, NOTE, LACKS]
    lines = [f"{each.kind:<6}{each.about}: {each.text}" for kind in order for each in verdicts if each.kind == kind]
    lacking = sum(each.kind == LACKS for each in verdicts)
    role = {"driver": "a driver", "executor": "an executor"}[wanted.role]
    end = (
        f"This image can't be {role} of Sparkyard's yet: {lacking} thing{'s' if lacking > 1 else ''} to mend."
        if lacking
        else f"This image has what {role} of Sparkyard's needs."
    )
    return "\n".join([*lines, end])


def main(arguments: Sequence[str] | None = None) -> int:
    """The command. 0: it has what is needed; 1: it lacks something; 2: the command itself is wrong."""
    parser = argparse.ArgumentParser(prog="sparkyard-image check", description="Say what an image lacks.")
    parser.add_argument("--for", dest="role", choices=("driver", "executor"), default="driver", help="what it is for")
    parser.add_argument("--spark", default="", metavar="X.Y", help="the version of the catalog's profile")
    parser.add_argument("--python", default="", metavar="X.Y", help="the Python of the image it has to go with")
    parser.add_argument("--root", default="/", metavar="FOLDER", help="where the image's files are unpacked")
    parser.add_argument("--config", metavar="FILE", help="what `docker inspect` says of the image")
    parser.add_argument("--json", action="store_true", help="print the facts and the verdicts as JSON")
    options = parser.parse_args(arguments)
    root = Root(options.root)
    if not os.path.isdir(root.folder):
        parser.error(f"there is no folder {options.root}")
    inside = root.folder == "/"
    environment, user = (dict(os.environ), os.getuid()) if inside else ({}, None)
    if options.config:
        try:
            with open(options.config, encoding="utf-8") as stream:
                environment, user = configuration(stream.read(), root)
        except (OSError, ValueError) as error:
            parser.error(f"{options.config} is not what `docker inspect` says of an image: {error}")
    wanted = Wanted(options.role, options.spark, options.python)
    facts = look(root, environment, user)
    if inside and facts.python and not facts.python_version:
        facts = replace(facts, python_version=_told_by(facts.python, environment))
    verdicts = judge(facts, wanted)
    if inside:
        verdicts += tries(facts, environment)
    if options.json:
        kept = {name: value for name, value in asdict(facts).items() if name != "jars"}
        text = json.dumps({"facts": kept, "verdicts": [asdict(each) for each in verdicts]}, indent=2)
    else:
        text = shown(verdicts, wanted)
    sys.stdout.write(text + "\n")
    return 1 if any(each.kind == LACKS for each in verdicts) else 0


if __name__ == "__main__":
    sys.exit(main())
