#!/usr/bin/env bash
# The virtual environment of an image: exactly what a hashed lock says, and our own folders in it. The folder of this
# script is that of the build stage `tools`, which the image itself never has.
#   venv.sh tools LOCK        what builds and installs, from requirements/bootstrap.txt
#   venv.sh libraries LOCK    /opt/venv from the lock
#   venv.sh wheels FOLDER...  our folders, built into /opt/wheels
#   venv.sh ours              those wheels into /opt/venv
set -euo pipefail
tools=$(dirname "$0")/tools
export UV_NATIVE_TLS=true  # the base's certificates decide, as they do for pip
export UV_CACHE_DIR=/var/cache/uv
install=("$tools/bin/uv" pip install --python /opt/venv/bin/python --no-deps --no-build-isolation --link-mode=copy)

case $1 in
  tools)
    python3 -m venv "$tools"
    "$tools/bin/pip" install --no-cache-dir --disable-pip-version-check --require-hashes -r "$2"
    ;;
  libraries)
    "$tools/bin/uv" venv --python /usr/bin/python3 /opt/venv
    # pyspark comes as a source archive: it is built with the setuptools of the same lock, and nothing unlocked.
    awk '/^[a-z]/ {keep = /^setuptools==/} keep' "$2" >/tmp/setuptools.txt
    "${install[@]}" --require-hashes -r /tmp/setuptools.txt
    # Compiled here: who runs the image may not write beside the sources, and would compile at every start.
    "${install[@]}" --require-hashes --compile-bytecode -r "$2"
    # A fifth of the size is what these libraries test themselves with and what C programs include.
    for library in numpy pandas pyarrow scipy sklearn; do
      for folder in /opt/venv/lib/python3*/site-packages/"$library"; do
        [ ! -d "$folder" ] || find "$folder" -depth -type d \( -name tests -o -path "*/pyarrow/include" \) -exec rm -rf {} +
      done
    done
    rm /tmp/setuptools.txt
    ;;
  wheels)
    shift
    "$tools/bin/pip" wheel --quiet --no-deps --no-build-isolation --no-index --wheel-dir /opt/wheels "$@"
    ;;
  ours)
    "${install[@]}" --no-cache --no-index --compile-bytecode /opt/wheels/*.whl
    ;;
esac
