# shellcheck shell=sh
# shellcheck disable=SC2034 # used where this is sourced
# What startMER.sh, testMER.sh and check share. Sourced; the caller sets root (the project's folder)
# and me (its own name in messages), and has 'set -eu'.
: "${root:?}" "${me:?}"

# The Debian packages, and the only list of them: to build and run, to test, and for each step of
# check.
build_packages='gcc libc6-dev pkg-config meson ninja-build libuv1-dev libsqlite3-dev libreadline-dev
	libjansson-dev libcurl4-openssl-dev libpq-dev libsmartcols-dev libssh2-1-dev libyaml-dev musl-tools nettle-dev python3 zlib1g-dev'
runtime_packages='libcurl4 libnettle8 libpq5 libreadline8 libsmartcols1 libssh2-1 libyaml-0-2 openssh-client
	python3' # where it was built elsewhere
compose_test_packages='debootstrap git iproute2'
test_packages='check pgbouncer postgresql python3-tap python3-pexpect python3-numpy python3-pytest sqlite3
	procps python3-jsonschema python3-yaml tmux mandoc groff-base fish zsh openssh-server openssh-client
	libnss-wrapper python3-venv dropbear-bin busybox-static mksh tcsh openssl python3-asyncssh python3-paramiko
	binutils systemd libedit-dev nginx-light'
package_packages='build-essential debhelper dh-python'
package_test_packages='debootstrap git lintian logrotate'
format_packages='clang-format'
shell_packages='shellcheck'
clang_packages='clang libclang-rt-14-dev'
tidy_packages='clang-tidy clang-tools'
coverage_packages='llvm'

# What a build is made of. A change to any of it makes the next start build.
sources='meson.build meson_options.txt meson.options src include driver migrations schema sql models python
	deploy docs README.md CONTRIBUTING.md SECURITY.md scripts/lib.sh'

# Exit codes beside mer's own.
exit_database=5 # as mer: the database cannot be used as it is
exit_packages=69 # packages are missing and cannot be installed
exit_build=70 # the build failed, or its folder cannot be written

builds=$root/build

say()
{
	printf '%s: %s\n' "$me" "$*" >&2
}

die()
{
	code=$1
	shift
	say "$*"
	exit "$code"
}

# show_log FILE: its end, where the reason is.
show_log()
{
	[ -s "$1" ] || return 0
	tail -n 200 "$1" >&2
	say "all of it is in $1"
}

# quietly NAME COMMAND...: runs it without stdin, output added to build/log/NAME.log.
quietly()
{
	log=$builds/log/$1.log
	shift
	"$@" </dev/null >>"$log" 2>&1
}

make_builds_folder()
{
	if ! mkdir -p "$builds/log" 2>/dev/null || ! [ -w "$builds" ] || ! [ -w "$builds/log" ]; then
		die $exit_build "cannot write to '$builds' as $(id -un)"
	fi
}

# take_lock NAME: one process at a time, until drop_lock. Children that build inherit the descriptor
# on purpose: should this script be killed, the next one waits for the compiler it left behind.
take_lock()
{
	exec 9>"$builds/$1.lock"
	if ! flock -n 9; then
		say "waiting for another one at work"
		flock 9
	fi
}

drop_lock()
{
	exec 9>&-
}

# missing_packages LIST: those that are not installed, on one line. None where there is no dpkg: on
# another system the build itself says what it lacks.
missing_packages()
{
	command -v dpkg-query >/dev/null || return 0
	# shellcheck disable=SC2086 # a list
	set -- $1
	have=$(dpkg-query -W -f='${db:Status-Status} ${Package}\n' "$@" 2>/dev/null </dev/null) || :
	lacking=
	for package; do
		if ! printf '%s\n' "$have" | grep -qxF "installed $package"; then
			lacking="$lacking $package"
		fi
	done
	printf '%s' "${lacking# }"
}

# lacks_for_compose PROGRAM: the packages that give PROGRAM of Docker, and a Compose. What came from
# elsewhere stays: Debian's would take its place.
lacks_for_compose()
{
	(PATH=$PATH:/usr/sbin && command -v "$1" >/dev/null) || printf 'docker.io '
	if ! docker compose version </dev/null >/dev/null 2>&1 && ! command -v docker-compose >/dev/null
	then
		printf docker-compose
	fi
}

as_root()
{
	if [ "$(id -u)" -eq 0 ]; then
		"$@"
	else
		sudo "$@"
	fi
}

may_become_root()
{
	[ "$(id -u)" -eq 0 ] && return
	command -v sudo >/dev/null || return
	sudo -n true </dev/null 2>/dev/null && return
	[ -t 0 ] && [ -t 2 ] # somebody is there to type a password
}

# Debian's postgresql makes a database and starts a service, unless this says otherwise while it is
# being installed. The tests start servers of their own.
# shellcheck disable=SC2016 # it is for the shell that runs it
without_cluster='
	folder=/etc/postgresql-common/createcluster.d
	trap "rm -f $folder/mer.conf; rmdir -p --ignore-fail-on-non-empty $folder" EXIT
	trap "exit 1" HUP INT TERM
	mkdir -p $folder && echo "create_main_cluster = false" >$folder/mer.conf && "$@"'

# The lock stays here: a service that a package might start would keep it for ever.
apt_get()
{
	as_root sh -c "$without_cluster" apt env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300 \
		-o Dpkg::Use-Pty=0 -o Dpkg::Options::=--force-confold -o Acquire::Retries=3 "$@" 9>&-
}

# apt waits for dpkg's lock but not for that of its package lists.
apt_update()
{
	tries=0
	until apt_get update; do
		if [ "$tries" -ge 60 ] || ! tail -n 5 "$log" | grep -q 'lists/lock'; then
			return 1
		fi
		tries=$((tries + 1))
		sleep 5
	done
}

# The package lists are fetched only if it does not work without: when they are absent, or old.
apt_install()
{
	apt_get install --no-install-recommends "$@" && return
	if grep -q 'dpkg --configure -a' "$log"; then # an earlier installation was interrupted
		as_root env DEBIAN_FRONTEND=noninteractive dpkg --force-confold --configure -a 9>&- || :
	fi
	apt_update && apt_get install --no-install-recommends "$@"
}

# ensure_packages LIST: installs what is missing of it.
ensure_packages()
{
	missing=$(missing_packages "$1")
	[ -n "$missing" ] || return 0
	if ! command -v apt-get >/dev/null || ! may_become_root; then
		die $exit_packages "missing packages; install them with:" \
			"apt-get install --no-install-recommends $missing"
	fi

	make_builds_folder
	take_lock packages
	missing=$(missing_packages "$1") # another one may have installed them meanwhile
	if [ -n "$missing" ]; then
		say "installing $missing"
		log=$builds/log/packages.log
		# shellcheck disable=SC2086 # a list
		apt_install $missing </dev/null >"$log" 2>&1 || {
			show_log "$log"
			die $exit_packages "cannot install $missing"
		}
	fi
	drop_lock
}

# What a build folder was made by: with other tools it is made anew.
tool_versions()
{
	command -v dpkg-query >/dev/null || return 0
	# shellcheck disable=SC2086 # a list
	dpkg-query -W -f='${Package} ${Version}\n' $build_packages 2>/dev/null </dev/null || :
}

# configure NAME OPTION...: makes build/NAME a complete build folder for these options, this place
# and these tools. The file 'configured' is written last, so a folder that was left half made is not
# taken for one.
configure()
{
	folder=$builds/$1
	name=$1
	shift
	: >"$builds/log/$name.log"
	want=$(printf '%s\n' "$root" "CC=${CC-} CFLAGS=${CFLAGS-} LDFLAGS=${LDFLAGS-}" "$@" &&
		tool_versions)
	if [ -f "$folder/build.ninja" ] && [ "$(cat "$folder/configured" 2>/dev/null)" = "$want" ]; then
		return 0
	fi
	rm -f "$folder/configured"
	rm -rf "$folder"
	quietly "$name" meson setup "$folder" "$root" "$@" || return
	printf '%s\n' "$want" >"$folder/configured"
}

# compile NAME [TARGET...]
compile()
{
	name=$1
	shift
	quietly "$name" meson compile -C "$builds/$name" "$@"
}

# build_failed NAME
build_failed()
{
	show_log "$builds/log/$1.log"
	say "the build failed"
}

# changed_since FILE: prints something if a source is newer than FILE.
changed_since()
{
	stamp=$1
	set --
	for path in $sources; do
		if [ -e "$root/$path" ]; then
			set -- "$@" "$root/$path"
		fi
	done
	find "$@" -name __pycache__ -prune -o -newer "$stamp" -print -quit
}

# same_file A B: equal in content and in being a program.
same_file()
{
	cmp -s "$1" "$2" || return
	if [ -x "$1" ]; then [ -x "$2" ]; else [ ! -x "$2" ]; fi
}

# mirror FROM TO: makes the files of TO those of FROM. Each that differs is replaced by a rename, so
# that a mer running from TO never finds one missing or half written, and what FROM no longer has
# goes.
mirror()
{
	from=$1
	to=$2
	mkdir -p "$to" || return
	(cd "$from" && find . ! -type d) | while IFS= read -r file; do
		if ! same_file "$from/$file" "$to/$file"; then
			mkdir -p "$to/${file%/*}" && cp -pP "$from/$file" "$to/$file.new" &&
				mv -fT "$to/$file.new" "$to/$file" || exit
		fi
	done || return
	(cd "$to" && find . ! -type d) | while IFS= read -r file; do
		if [ ! -e "$from/$file" ] && [ ! -L "$from/$file" ]; then
			rm -f "$to/$file" || exit
		fi
	done
}
