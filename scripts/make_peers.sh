#!/bin/sh
# Makes the servers of others that tests/test_http_peers.py asks: those of tests/peers/, from PyPI.
#
#	make_peers.sh DIR
#
# DIR/NAME is a virtual environment, whole once DIR/NAME/made is there; else DIR/NAME.why says what it lacks.
# Whoever waits for them takes DIR/lock, which is held meanwhile.
set -eu
self=$(readlink -f -- "$0")
lists=${self%/*/*}/tests/peers
[ $# -eq 1 ] || {
	echo "usage: ${0##*/} DIR" >&2
	exit 2
}
mkdir -p "$1"
cd "$1"
exec 8>lock
flock 8

# make NAME LIST: all versions are on the list, so that nothing is resolved. What is loaded is compiled when it is.
make()
{
	rm -rf "$1"
	/usr/bin/python3 -m venv "$1" &&
		"$1/bin/python3" -m pip install --no-deps --no-compile --disable-pip-version-check --no-input \
			--progress-bar off --retries 1 --timeout 15 -r "$2" &&
		cp "$2" "$1/made"
}

for list in "$lists"/*.txt; do
	name=${list##*/}
	name=${name%.txt}
	if ! cmp -s "$list" "$name/made"; then
		echo "its installation was cut short" >"$name.why"
		if make "$name" "$list" </dev/null >"$name.log" 2>&1; then
			rm "$name.why"
		else
			grep -v '^$' "$name.log" | tail -n 1 >"$name.why"
		fi
	fi
done
