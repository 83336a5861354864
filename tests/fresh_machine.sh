#!/bin/sh
# Tries what README.md says on a machine that has nothing: a Debian made by debootstrap, with the
# sources and the network of this host, and a clone of the project (what is committed) in a folder
# with a space in its name. Needs root, debootstrap and git, some minutes, and 2 GB in $TMPDIR;
# leaves nothing behind. Prints what it saw and ends with 'N passed, N failed, 0 skipped'.
#
#	fresh_machine.sh [--without-tests]
set -eu
self=$(readlink -f -- "$0")
root=${self%/*/*}
release=bookworm
project='/srv/my project'

die()
{
	echo "fresh_machine: $*" >&2
	exit 1
}

# The part that the whole script is run again for, in a mount and a process namespace of its own: so
# that, however it ends, no mount and no process outlives it.
if [ "${1-}" != --inside ]; then
	[ "$(id -u)" -eq 0 ] || die "has to be run by root"
	for tool in debootstrap git unshare; do
		command -v "$tool" >/dev/null || die "'$tool' is not installed"
	done
	machine=$(mktemp -d)
	chmod 755 "$machine"
	inside=
	# shellcheck disable=SC2317 # called by the traps
	clean_up()
	{
		if [ -n "$inside" ]; then
			kill -KILL "$inside" 2>/dev/null || :
			wait "$inside" 2>/dev/null || :
		fi
		rm -rf --one-file-system "$machine" "$machine.log"
	}
	trap clean_up EXIT
	trap 'exit 129' HUP
	trap 'exit 130' INT
	trap 'exit 143' TERM
	unshare --mount --propagation private --pid --fork --kill-child \
		"$self" --inside "$machine" "$@" &
	inside=$!
	code=0
	wait "$inside" || code=$?
	inside=
	exit "$code"
fi

machine=$2
with_tests=yes
[ "${3-}" != --without-tests ] || with_tests=
exec </dev/null
passed=0
failed=0

now_ms()
{
	echo $(($(date +%s%N) / 1000000))
}

# apt_sources: this host's, of the release that the machine gets.
apt_sources()
{
	apt-get indextargets --format "deb \$(REPO_URI) \$(RELEASE) \$(COMPONENT)" \
		'Created-By: Packages' | grep -E " $release(-updates|-security)? " | sort -u
}

make_machine()
{
	mirror=$(apt_sources | awk -v release="$release" '$3 == release { print $2; exit }')
	[ -n "$mirror" ] || die "apt has no source for $release here"
	eval "$(apt-config shell proxy Acquire::http::Proxy)"
	if [ -n "${proxy-}" ]; then
		export http_proxy="$proxy"
	fi
	debootstrap --variant=minbase "$release" "$machine" "$mirror" >"$machine.log" 2>&1 || {
		tail -n 20 "$machine.log" >&2
		die "debootstrap failed"
	}
	apt_sources >"$machine/etc/apt/sources.list"
	apt-config dump | grep -E '^Acquire::(https?|Check-[A-Za-z-]*)(::| )' \
		>"$machine/etc/apt/apt.conf.d/90host" || :
	cp -L /etc/resolv.conf /etc/hosts "$machine/etc/"
	if [ -f /etc/ssl/certs/ca-certificates.crt ]; then
		mkdir -p "$machine/etc/ssl/certs"
		cp /etc/ssl/certs/ca-certificates.crt "$machine/etc/ssl/certs/"
	fi
	mount -t proc proc "$machine/proc"
	mount -t tmpfs tmpfs "$machine/dev/shm"
	mount -t devpts -o newinstance,ptmxmode=0666 devpts "$machine/dev/pts"
	ln -sf pts/ptmx "$machine/dev/ptmx"
	chroot "$machine" useradd --create-home ada
}

# in_machine USER COMMAND: a shell's command line, in the environment of a first login.
in_machine()
{
	home=$(chroot "$machine" sh -c "echo ~$1")
	chroot --userspec="$1" "$machine" env -i HOME="$home" USER="$1" LOGNAME="$1" SHELL=/bin/sh \
		TERM=xterm PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin sh -c "cd && $2"
}

# see USER COMMAND: runs it; leaves out, err, code and ms.
see()
{
	began=$(now_ms)
	code=0
	out=$(in_machine "$1" "$2" 2>"$machine/err") || code=$?
	ms=$(($(now_ms) - began))
	err=$(cat "$machine/err")
}

# claim WHAT CONDITION...: one result, with what was seen where it does not hold.
claim()
{
	what=$1
	shift
	if "$@"; then
		passed=$((passed + 1))
		echo "fresh: $what ... ok (code $code, $ms ms)"
	else
		failed=$((failed + 1))
		echo "fresh: $what ... FAILED (code $code, $ms ms)"
		printf '%s\n' "$out" | tail -n 40 | sed 's/^/  out: /'
		printf '%s\n' "$err" | tail -n 40 | sed 's/^/  err: /'
	fi
}

answers()
{
	[ "$code" -eq 0 ] && [ "$out" = setosa ]
}

answers_at_once()
{
	answers && [ -z "$err" ] && [ "$ms" -lt 1000 ]
}

both_answer()
{
	[ "$code" -eq 0 ] && [ "$out" = "$(printf 'setosa\nsetosa')" ] &&
		[ "$(printf '%s\n' "$err" | grep -c ': installing ')" -eq "$1" ] &&
		[ "$(printf '%s\n' "$err" | grep -c ': building')" -eq 1 ]
}

ends_with()
{
	[ "$code" -eq "$1" ]
}

all_pass()
{
	[ "$code" -eq 0 ] && printf '%s\n' "$out" | tail -n 1 |
		grep -qE '^[1-9][0-9]* passed, 0 failed, [0-9]+ skipped$'
}

names_and_stops()
{
	[ "$code" -eq 69 ] && [ -z "$out" ] && [ "$(printf '%s\n' "$err" | wc -l)" -eq 1 ] &&
		printf '%s' "$err" | grep -q "apt-get install .*$1"
}

is_silent()
{
	[ "$code" -eq 0 ] && [ -z "$out$err" ]
}

flower='run iris 5.1,3.5,1.4,0.2'
start="'$project/scripts/startMER.sh'"

echo "fresh: making a $release ..."
make_machine
git -c safe.directory='*' clone --quiet --no-hardlinks "$root" "$machine$project"
if [ -n "$(git -c safe.directory='*' -C "$root" status --porcelain)" ]; then
	echo "fresh: what is not committed is not part of this"
fi

see root "cd '$project' && scripts/startMER.sh $flower"
claim 'the first start' answers
printf '%s\n' "$err" | sed 's/^/  err: /'
see root "cd '$project' && scripts/startMER.sh $flower"
claim 'the second start, at once and without a word' answers_at_once
see root "$start run no-such-model x"
claim "mer's exit code passes" ends_with 3
see root "ln -s $start /usr/local/bin/startMER && cd /tmp && startMER $flower"
claim 'through a symlink, from elsewhere' answers_at_once
see root "printf 'run iris 5.1,3.5,1.4,0.2\n' | $start"
claim 'commands on stdin' ends_with 0
see root "printf 'exit\n' | script -qec startMER /dev/null"
claim 'the prompt on a terminal' ends_with 0
see root "'$project/scripts/stopMER.sh'"
claim 'stop has nothing to do' is_silent
see ada "$start $flower"
claim 'another user, on the build of root' answers

if [ -n "$with_tests" ]; then
	see root "cd '$project' && scripts/testMER.sh"
	claim 'the tests' all_pass
	printf '%s\n' "$out" | tail -n 1 | sed 's/^/  out: /'
	see root "$start $flower"
	claim 'a start after the tests has nothing to do' answers_at_once
fi

see root "rm -rf '$project/build' && apt-get purge -q -y libjansson-dev >/dev/null &&
	{ $start $flower & $start $flower & wait; }"
claim 'two at once, one package short' both_answer 1
# killed_after SECONDS: one start that is killed with all its children, then another.
killed_after()
{
	see root "{ setsid $start $flower & sleep $1; kill -s KILL -- -\$!; wait; } >/dev/null 2>&1
		$start $flower"
}

see root "rm -rf '$project/build'"
killed_after 0.7
claim 'after one that was killed as it built' answers
see root "rm -rf '$project/build' &&
	apt-get purge -q -y --auto-remove gcc meson nettle-dev >/dev/null"
killed_after 2
claim 'after one that was killed as it installed' answers

cp -a "$machine$project" "$machine/home/ada/my project"
rm -rf "$machine/home/ada/my project/build"
chroot "$machine" chown -R ada: /home/ada
see root 'apt-get purge -q -y libjansson-dev nettle-dev >/dev/null'
see ada "'my project/scripts/startMER.sh' $flower"
claim 'a user without sudo is told what is missing' names_and_stops 'libjansson-dev nettle-dev'
printf '%s\n' "$err" | sed 's/^/  err: /'
see ada "test -e 'my project/build'"
claim '... and nothing was made' ends_with 1
see root 'apt-get install -q -y --no-install-recommends sudo >/dev/null &&
	echo "ada ALL=(ALL) NOPASSWD: ALL" >/etc/sudoers.d/ada'
see ada "'my project/scripts/startMER.sh' $flower"
claim 'a user with sudo' answers

echo "$passed passed, $failed failed, 0 skipped"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
