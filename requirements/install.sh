#!/bin/sh
# Installs requirements/NAME.txt into a virtual environment: sh requirements/install.sh VENV NAME PYTHON...
# The first PYTHON that is 3.11 or later creates the environment. Does nothing if nothing has changed.
set -eu
venv=$1 name=$2 me=$(id -un 2>/dev/null || id -u)
shift 2

fail() {
    echo "$*" >&2
    exit 1
}

imports() {
    "$venv/bin/python" -c "import $1" 2>/dev/null
}

# The environment contains a copy of each lock file that was installed.
is_installed() {
    cmp -s "requirements/$1.txt" "$venv/$1.txt" && imports 'django, psycopg'
}

# Root leaves folders that another account cannot change: `sudo make run`, then `make run`.
check_writable() {
    if [ -e "$venv" ]; then
        closed=$(find "$venv" -type d ! -user "$(id -u)" ! -exec test -w {} \; -print 2>/dev/null | head -n 1)
        target="-R $me $(cd "$(dirname "$venv")" && pwd)/$(basename "$venv")"
    else
        closed=$(find "$(dirname "$venv")" -prune ! -exec test -w {} \; -print)
        target="$me $(cd "$(dirname "$venv")" && pwd)"
    fi
    [ -z "$closed" ] || fail "$me cannot write to $closed, which belongs to another account:" \
        "enter \`sudo chown $target\`."
}

create_environment() {
    for python; do
        "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && break
        python=
    done
    [ -n "$python" ] || fail "Python 3.11 or later is required. Not found among: $*."
    "$python" -c 'import venv, ensurepip' 2>/dev/null || fail \
        "$python has no venv module: install it (on Debian and Ubuntu: apt install python3-venv)."
    echo "Creating $venv with $("$python" --version) ..."
    "$python" -m venv --clear "$venv"
}

# The options override a configuration file of pip, which can name another place to install into.
install() {
    "$venv/bin/python" -m pip install --disable-pip-version-check --no-input \
        --no-user --target= --root=/ \
        --only-binary :all: --no-deps --require-hashes -r "requirements/$name.txt"
}

# dev.txt contains all of run.txt.
is_installed "$name" && exit
[ "$name" = run ] && is_installed dev && exit
check_writable
imports pip || create_environment "$@"
echo "Installing requirements/$name.txt into $venv (about a minute) ..."
install >"$venv/pip.log" 2>&1 || {
    tail -n 20 "$venv/pip.log" >&2
    fail "The packages could not be installed. All messages are in $venv/pip.log."
}
imports 'django, psycopg' || fail "The packages were installed, but not into $venv: see \`pip config list\`."
cp "requirements/$name.txt" "$venv/$name.txt"
