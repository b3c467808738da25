#!/usr/bin/env bash
# Builds a Windows Python that runs under Wine, from packages of Debian (or Ubuntu) and PyPI:
#
#     bash tests/wine/setup.sh [DESTINATION]     # default: ~/.cache/iocpbench/wine-python
#     bash tests/wine/setup.sh --pin             # the newest packages that fit, into requirements.txt
#
# DESTINATION/python starts it. A part whose inputs haven't changed isn't built again.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
step() { printf '%4d s  %s\n' "$SECONDS" "$*"; }
fail() { printf 'setup.sh: %s\n' "$*" >&2; exit 1; }

command -v uv >/dev/null || fail "uv is missing: pip install uv"
if [ "${1-}" = --pin ]; then
    cd "$root"
    # Playwright drives a browser, which belongs to Linux here.
    exec uv pip compile --quiet --upgrade pyproject.toml --group test --extra libraries \
        --python-platform windows --python-version 3.11 --only-binary :all: --constraint "$here/constraints.txt" \
        --no-emit-package playwright --no-emit-package pyee --no-annotate \
        --custom-compile-command "bash tests/wine/setup.sh --pin" --output-file "$here/requirements.txt"
fi
[ "$(uname -sm)" = "Linux x86_64" ] || fail "this builds a Python for x86-64 on Linux; here is $(uname -sm)"
destination=${1:-${XDG_CACHE_HOME:-$HOME/.cache}/iocpbench/wine-python}
mkdir -p "$destination"
destination=$(cd "$destination" && pwd)
windows=$destination/windows
exec 9>"$destination/lock"
flock 9 # two at a time would build into one folder

# `changed NAME INPUTS` is true where a part was never finished with these inputs; `finished NAME INPUTS` says it is.
stamp() { printf '%s\n' "${@:2}" | sha256sum; }
changed() { [ "$(cat "$destination/$1.stamp" 2>/dev/null)" != "$(stamp "$@")" ]; }
finished() { stamp "$@" >"$destination/$1.stamp"; }

wine=/usr/lib/wine/wine64 # what Debian's `wine` runs after it has complained that there is no 32-bit one
if ! [ -x "$wine" ]; then
    command -v apt-get >/dev/null || fail "wine64 is missing and there is no apt: install Wine 8 or newer as $wine"
    sudo=$([ "$(id -u)" = 0 ] || echo sudo)
    [ -z "$sudo" ] || command -v sudo >/dev/null || fail "Wine is missing: as root, apt-get install wine wine64"
    $sudo apt-get update -qq
    $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends wine wine64 >/dev/null
    [ -x "$wine" ] || fail "the package wine64 has no $wine: Debian 12 and Ubuntu 24.04 are known to have it"
fi
wine_version=$("$wine" --version)
step "$wine_version"

find_python() { uv python find 3.11 2>/dev/null; }
python=$(find_python) || { uv python install --quiet 3.11 && python=$(find_python); } ||
    fail "CPython 3.11 is missing (its standard library is copied): uv python install 3.11"
python_version=$("$python" -c 'import sys; print(sys.version)')
add() { uv pip install --quiet --python "$python" --no-deps --only-binary :all: "$@"; }
for_windows=(--python-platform windows --python-version 3.11)

ziglang=$(grep -o 'ziglang==[0-9.]*' "$root/pyproject.toml") # the compiler that builds iocpbench
if changed zig "$ziglang"; then
    rm -rf "$destination/zig"
    add --target "$destination/zig" "$ziglang"
    finished zig "$ziglang"
fi
step "$ziglang"

compile() {
    local flags=(-target x86_64-windows-gnu -O2 -s -nostdlib -fno-stack-protector -fno-sanitize=all -Wall -Wextra)
    PYTHONPATH=$destination/zig "$python" -m ziglang cc "${flags[@]}" "$@"
}
interpreter=("$python_version" "$ziglang" "$(cat "$here"/{interpreter.txt,assemble.py,python.c,forwarder.c})")
if changed interpreter "${interpreter[@]}"; then
    rm -rf "$windows" "$destination"/{wheel,packages.stamp}
    add "${for_windows[@]}" --target "$destination/wheel" --require-hashes --requirements "$here/interpreter.txt"
    "$python" "$here/assemble.py" "$destination/wheel" "$windows"
    compile -Wl,--entry=start -o "$windows/python.exe" "$here/python.c" -lkernel32 -lshell32
    compile -Wl,--entry=DllMain -shared -o "$windows/python3.dll" "$here/forwarder.c" "$windows/python3.def"
    rm -rf "$destination/wheel"
    finished interpreter "${interpreter[@]}"
fi
step "Windows Python"

packages=$(cat "$here/requirements.txt")
if changed packages "$packages"; then
    rm -rf "$windows/Lib/site-packages"
    add "${for_windows[@]}" --target "$windows/Lib/site-packages" --compile-bytecode \
        --requirements "$here/requirements.txt"
    finished packages "$packages"
fi
step "packages"

# The limit of descriptors is raised for wineserver, which has that of who starts it.
cat >"$destination/python" <<LAUNCHER
#!/bin/sh
ulimit -n "\$(ulimit -Hn)"
export WINEPREFIX='$destination/prefix' WINEDEBUG=-all WINEDLLOVERRIDES="mscoree,mshtml=" PYTHONDONTWRITEBYTECODE=1
exec $wine '$windows/python.exe' "\$@"
LAUNCHER
chmod +x "$destination/python"

if changed prefix "$wine_version"; then
    rm -rf "$destination/prefix"
    # What runs there writes to a pipe: a file as stdout kills Python, and may kill others.
    (
        ulimit -n "$(ulimit -Hn)" # wineserver holds a descriptor for each socket of all processes
        export WINEPREFIX=$destination/prefix WINEDEBUG=-all WINEDLLOVERRIDES="mscoree,mshtml="
        "$wine" wineboot --init </dev/null 2>&1 | cat &&
            "$wine" winecfg -v win10 </dev/null 2>&1 | cat && # a fresh prefix calls itself Windows 7
            "${wine%/*}/wineserver" --wait
    ) >"$destination/prefix.log" || fail "no Wine prefix: see $destination/prefix.log"
    finished prefix "$wine_version"
fi
step "Wine prefix"

works='import asyncio, ssl, sqlite3, sys
import hdrh, hypothesis, matplotlib, msgspec, numpy, pandas, psutil, pytest, scipy.stats, typer
import anyio, gevent, pywintypes, tornado, trio, twisted.internet.tcp, twisted_iocpsupport.iocpsupport, winloop
assert type(asyncio.new_event_loop()).__name__ == "ProactorEventLoop"
print("Python", sys.version.split()[0], "on Windows", ".".join(map(str, sys.getwindowsversion().platform_version)))'
built=$(cat "$destination"/{interpreter,packages,prefix}.stamp)
if changed works "$works" "$built"; then
    said=$("$destination/python" -c "$works" </dev/null 2>&1 | tr -d '\r') || fail "the Windows Python fails: $said"
    step "$said"
    finished works "$works" "$built"
fi
printf '%s\n' "$destination/python"
