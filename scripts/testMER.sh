#!/bin/sh
# Runs the tests: installs the Debian packages they need, builds, runs, and ends stdout with one
# line 'N passed, N failed, N skipped'. Exits 0 only if nothing failed and something passed.
#
#	testMER.sh [asan] [NAME...]
#
# asan: with the address and undefined behaviour sanitizers. NAME: a test or a suite; if none is
# given all of them but the suites 'compose', which starts a Docker engine of its own, and 'package',
# which builds the Debian packages and installs them in a Debian of its own; both take root.
# MER_TEST_PEERS: a folder for servers from PyPI, fetched beside the build for the test that asks them,
# which is skipped without them.
set -eu
self=$(readlink -f -- "$0")
root=${self%/*/*}
me=testMER
# shellcheck source=scripts/lib.sh
. "$root/scripts/lib.sh"

# give_up CODE: the last line, where no test came to run.
give_up()
{
	echo '0 passed, 1 failed, 0 skipped'
	exit "$1"
}

# The tests are the same whoever runs them, and leave no caches among the sources.
for setting in $(env | sed -n 's/^\(MER_[A-Za-z0-9_]*\)=.*/\1/p; s/^\(PG[A-Z0-9_]*\)=.*/\1/p'); do
	[ "$setting" = MER_TEST_PEERS ] || unset "$setting"
done
export LC_ALL=C.UTF-8 PYTHONDONTWRITEBYTECODE=1

kind=debug
set_options='--buildtype=debugoptimized -Dprompt=enabled -Dtests=enabled'
case ${1-} in
asan)
	kind=asan
	set_options="$set_options -Db_sanitize=address,undefined -Db_lundef=false"
	shift
	;;
-*)
	echo "usage: ${0##*/} [asan] [NAME...]" >&2
	give_up 2
	;;
esac

packages="$build_packages $test_packages"
for name; do
	case $name in
	compose | test_compose)
		packages="$packages $compose_test_packages $(lacks_for_compose dockerd)"
		;;
	package | test_package) packages="$packages $package_packages $package_test_packages" ;;
	esac
done

# A subshell: its exits are answered with a last line as well.
prepared=0
(ensure_packages "$packages" && make_builds_folder) || prepared=$?
[ "$prepared" -eq 0 ] || give_up "$prepared"
take_lock "$kind"

if [ -n "${MER_TEST_PEERS-}" ]; then
	nice -n 19 timeout -k 5 600 "$root/scripts/make_peers.sh" "$MER_TEST_PEERS" </dev/null >/dev/null 2>&1 9>&- &
	trap 'kill $! 2>/dev/null || :' EXIT
fi
say "building"
# shellcheck disable=SC2086 # a list
if ! configure "$kind" $set_options || ! compile "$kind" ||
	! quietly "$kind" ninja -C "$builds/$kind" meson-test-prereq; then
	build_failed "$kind"
	give_up $exit_build
fi

# select_tests NAME...: the tests of these names or suites, one a line, and the one that installs
# for the others.
select_tests()
{
	all=$(meson test -C "$builds/$kind" --list --no-rebuild </dev/null 2>/dev/null)
	for name in stage "$@"; do
		found=$(printf '%s\n' "$all" | awk -v want="$name" -F ' / ' '
			{ hit = $NF == want; n = NF > 1 ? split($1, suite, /[:+]/) : 0 }
			{ for (i = 2; i <= n; i++) hit = hit || suite[i] == want }
			hit { print $NF }')
		if [ -z "$found" ] && [ "$name" != stage ]; then
			say "there is no test or suite '$name', but these:"
			printf '%s\n' "$all" >&2
			return 2
		fi
		printf '%s\n' "$found"
	done
}

if [ $# -gt 0 ]; then
	selected=$(select_tests "$@") || give_up 2
	# shellcheck disable=SC2046 # names of tests are single words
	set -- $(printf '%s\n' "$selected" | awk '!seen[$0]++')
else
	set -- --no-suite compose --no-suite package
fi

say "testing"
results=$builds/$kind/meson-logs/testlog
rm -f "$results.json" "$results.junit.xml"
status=0
# Under nohup and in the background some signals are ignored, which programs inherit and heed.
env --default-signal=HUP,INT,QUIT,TERM \
	meson test -C "$builds/$kind" --no-rebuild --print-errorlogs --timeout-multiplier 3 "$@" \
	</dev/null || status=$?
/usr/bin/python3 "$root/scripts/count_tests.py" "$results" "$status"
