#!/bin/sh
# Create .venv at the root of the repository with a Python that nonneg supports
# (3.12 to 3.14), and install nonneg there in editable mode with the dependency
# groups named on the command line:
#
#     sh scripts/bootstrap.sh test lint
#
# Needed beforehand: any python3 with pip. An existing .venv is kept and added to.
# PYTHON=/path/to/python3.13 in the environment overrides the search.
set -eu
cd "$(dirname "$0")/.."

# Like pip, trust the certificates of the system, which a proxy's may be among; uv has
# its own by default.
for bundle in /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt \
    /etc/ssl/cert.pem; do
    if [ -s "$bundle" ]; then
        export UV_SYSTEM_CERTS="${UV_SYSTEM_CERTS:-true}"
    fi
done

say() { printf '%s\n' "bootstrap: $*" >&2; }

# Print the real path of an interpreter if it runs and has a supported version.
# It is run, not only looked up, because a pyenv shim exists for every version that
# pyenv knows of and fails for those which are not selected.
supported() {
    "$1" -c '
import sys
ok = (3, 12) <= sys.version_info[:2] < (3, 15)
ok = ok and sys.implementation.name == "cpython"
print(sys.executable) if ok else sys.exit(1)
' 2>/dev/null
}

# Every match on PATH is tried, not only the first, which may be a shim.
search_path() {
    old_ifs=$IFS
    IFS=:
    for dir in $PATH; do
        IFS=$old_ifs
        [ -x "$dir/$1" ] && supported "$dir/$1" && return 0
        IFS=:
    done
    IFS=$old_ifs
    return 1
}

pyenv_roots() {
    if command -v pyenv >/dev/null 2>&1; then
        pyenv root 2>/dev/null || true
    fi
    printf '%s\n' "${PYENV_ROOT:-}" "${HOME:-}/.pyenv"
    printf '%s\n' "$PATH" | tr ':' '\n' | sed -n 's,/shims/*$,,p'
    # the root of an older Python that pyenv installed
    python3 -c 'import sys; print(sys.base_prefix)' 2>/dev/null |
        sed -n 's,/versions/[^/]*$,,p'
}

search_pyenv() {
    pyenv_roots | while IFS= read -r root; do
        [ -n "$root" ] || continue
        for version in 3.13 3.12 3.14; do
            for python in "$root/versions/$version"*/bin/python; do
                [ -x "$python" ] && supported "$python" && exit 0
            done
        done
    done | head -n 1 | grep .
}

find_python() {
    if [ -n "${PYTHON:-}" ]; then
        supported "$PYTHON" && return 0
        say "PYTHON=$PYTHON does not run or is not CPython 3.12, 3.13 or 3.14."
        exit 1
    fi
    for name in python3.13 python3.12 python3.14 python3 python; do
        search_path "$name" && return 0
    done
    search_pyenv
}

# `uv pip install --group` is needed, which old versions lack.
usable_uv() { "$1" pip install --help 2>/dev/null | grep -q -e --group; }

# uv: from PATH, or from .bootstrap/, or installed into .bootstrap/ from PyPI. It gets
# an environment of its own since Debian's Python refuses `pip install`; where the
# venv module is missing too (Debian: python3-venv), a plain folder has to do.
find_uv() {
    for uv in uv .bootstrap/bin/uv .bootstrap/packages/bin/uv; do
        if usable_uv "$uv"; then
            printf '%s\n' "$uv"
            return 0
        fi
    done
    for python in "$1" python3 python; do
        [ -n "$python" ] && "$python" -c '' 2>/dev/null || continue
        rm -rf .bootstrap
        say "installing uv into .bootstrap with $python"
        if "$python" -m venv .bootstrap >/dev/null 2>&1; then
            if .bootstrap/bin/python -m pip install --quiet --disable-pip-version-check uv >&2; then
                printf '%s\n' .bootstrap/bin/uv
                return 0
            fi
        elif "$python" -m pip install --quiet --disable-pip-version-check \
            --target .bootstrap/packages uv >&2; then
            printf '%s\n' .bootstrap/packages/bin/uv
            return 0
        fi
    done
    say "could not install uv. A python3 with pip and access to PyPI is needed,"
    say "or install uv yourself: https://docs.astral.sh/uv/"
    return 1
}

python=$(find_python) || {
    [ -z "${PYTHON:-}" ] || exit 1
    python=
}
uv=$(find_uv "$python")

if ! supported .venv/bin/python >/dev/null; then
    rm -rf .venv
    if [ -n "$python" ]; then
        say "creating .venv with $python"
        "$uv" venv --quiet --python "$python" .venv
    else
        say "no Python >= 3.12 found, asking uv to download one"
        "$uv" venv --quiet --managed-python --python 3.13 .venv || {
            say "nonneg needs Python 3.12, 3.13 or 3.14, and none was found on PATH or"
            say "under pyenv, nor could one be downloaded. Install one, for example with"
            say "    apt install python3.12     (Debian, Ubuntu, where available)"
            say "    brew install python@3.13   (macOS)"
            say "    pyenv install 3.13"
            say "or name it: make test PYTHON=/path/to/python3.13"
            exit 1
        }
    fi
fi

groups=$*
set --
for group in $groups; do
    set -- "$@" --group "$group"
done
say "installing nonneg${groups:+ with the groups: $groups}"
"$uv" pip install --quiet --python .venv/bin/python --editable . "$@"
