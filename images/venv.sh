#!/usr/bin/env bash
# The virtual environment of an image, made in its build stage: exactly what a hashed lock says, and our own folders.
#   venv.sh tools            what builds and installs, from requirements/bootstrap.txt, in /opt/tools
#   venv.sh LOCK [FOLDER...] /opt/venv from the lock, and our folders in it
set -euo pipefail
export UV_NATIVE_TLS=true  # the base's certificates decide, as they do for pip

if [ "$1" = tools ]; then
  python3 -m venv /opt/tools
  exec /opt/tools/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes -r requirements/bootstrap.txt
fi

lock=$1; shift
python3 -m venv --without-pip /opt/venv
install=(/opt/tools/bin/uv pip install --python /opt/venv/bin/python --no-deps --no-build-isolation --link-mode=copy)
# pyspark comes as a source archive: it is built with the setuptools of the same lock, and nothing unlocked.
awk '/^[a-z]/ {keep = /^setuptools==/} keep' "$lock" >/tmp/setuptools.txt
"${install[@]}" --require-hashes -r /tmp/setuptools.txt
# Compiled here: who runs the image may not write beside the sources, and would compile at every start.
"${install[@]}" --require-hashes --compile-bytecode -r "$lock"
if [ $# -gt 0 ]; then
  /opt/tools/bin/pip wheel --quiet --no-deps --no-build-isolation --no-index --wheel-dir /opt/wheels "$@"
  "${install[@]}" --no-index --compile-bytecode /opt/wheels/*.whl
fi
