#!/bin/sh
# Runs Python in this checkout's own environment, which it makes and fills first:
#
#     deploy/local/python.sh <sets> <arguments of python>        e.g.  base,torch -m deploy.local up
#
# It only finds a Python that can make .venv; what goes into it is decided in install.py.
set -eu
unset PYTHONHOME CDPATH
cd "$(dirname "$0")/../.."

# The version is asked of the program itself: a pyenv shim is on the PATH even where it runs nothing.
runs() {
    "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' >/dev/null 2>&1
}

makes_environments() {
    "$1" -c 'import venv, ensurepip' >/dev/null 2>&1
}

find_python() {
    found=""
    for candidate in ${PYTHON:-} python3.13 python3.12 python3.11 python3 python; do
        runs "$candidate" || continue
        if makes_environments "$candidate"; then
            echo "$candidate"
            return
        fi
        found=${found:-$candidate}
    done
    if [ -n "$found" ]; then
        package=$("$found" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
        echo "$found cannot make virtual environments; on Debian or Ubuntu: sudo apt install $package" >&2
    else
        echo "Backlot needs Python 3.11, 3.12 or 3.13 on the PATH (or PYTHON=/path/to/python3), and found none." >&2
    fi
    exit 1
}

sets=$1
shift
if ! runs .venv/bin/python; then
    python=$(find_python)
    "$python" -m venv --clear .venv
fi
.venv/bin/python -m deploy.local.install "$sets"
exec .venv/bin/python "$@"
