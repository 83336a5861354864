#!/bin/sh
# Starts MER: installs the Debian packages it needs, builds it, migrates its database, and becomes
# mer with the arguments given; without any, its prompt. What is done already is not done again.
# Settings (MER_*) pass through, stdin and stdout are mer's alone, and progress goes to stderr.
#
#	startMER.sh [--compose] [ARGUMENT...]
#	startMER.sh --service
#
# --compose: the same in containers, with Postgres; it makes the password, builds the image, starts
# the database, and runs mer by 'docker compose run'. stopMER.sh ends what stays.
#
# --service: there is no daemon yet, so what starts is what a machine does by itself: with systemd the
# database of its user 'mer' is migrated and looked at, now, at each boot and each morning, and jobs can
# be timed; without one the database of the settings is migrated and looked at. Takes root with systemd.
#
# The exit code is mer's own, or 5 when the database could not be started or migrated, 69 when
# packages are missing and cannot be installed here, or it takes root, 70 when the build failed.
set -eu
self=$(readlink -f -- "$0")
root=${self%/*/*}
me=startMER
# shellcheck source=scripts/lib.sh
. "$root/scripts/lib.sh"
# shellcheck source=scripts/compose.sh
. "$root/scripts/compose.sh"
# shellcheck source=scripts/service.sh
. "$root/scripts/service.sh"

programs=$builds/mer/bin
server_tries=120 # four a second
stamp=$builds/release.stamp # holds root; as old as the sources that were built

# True when what is installed is complete and was built here.
is_complete()
{
	built_in=
	if [ -f "$stamp" ]; then
		IFS= read -r built_in <"$stamp" || :
	fi
	[ "$built_in" = "$root" ] && [ -x "$programs/mer" ] && [ -x "$programs/mer-migrate" ]
}

# True unless packages came or went since the last look and took with them what MER needs. Whoever
# cannot write the build has nothing to gain from looking.
still_runs()
{
	looked=$builds/packages.stamp
	if [ ! -w "$builds" ] ||
		[ -z "$(find /var/lib/dpkg/status -newer "$looked" 2>/dev/null)" ]; then
		return 0
	fi
	[ -z "$(missing_packages "$build_packages")" ] || return
	"$programs/mer" --version </dev/null >/dev/null 2>&1 || return
	: >"$looked"
}

is_current()
{
	is_complete && [ -z "$(changed_since "$stamp")" ] && still_runs
}

build()
{
	rm -f "$stamp"
	printf '%s\n' "$root" >"$stamp.new" # now, so that an edit during the build counts as newer
	: >"$builds/packages.stamp"
	configure release --buildtype=release --prefix="$builds/mer" -Dlibdir=lib \
		-Dprompt=enabled -Dpostgres=enabled -Dtests=disabled || return
	compile release || return
	rm -rf "$builds/release/destdir"
	quietly release env DESTDIR="$builds/release/destdir" \
		meson install -C "$builds/release" --no-rebuild --quiet || return
	quietly release mirror "$builds/release/destdir$builds/mer" "$builds/mer" || return
	mv -f "$stamp.new" "$stamp"
}

prepare()
{
	if is_complete && ! [ -w "$builds" ]; then
		say "the sources are newer than the build, and $(id -un) cannot write to '$builds';" \
			"starting it as it is"
		return
	fi
	ensure_packages "$build_packages"
	make_builds_folder
	take_lock release
	if ! is_current; then # another start may have built it meanwhile
		say "building"
		build || {
			build_failed release
			exit $exit_build
		}
	fi
	drop_lock
	prepared=yes
}

# run_migrate OPTION...: sets code, and said.
run_migrate()
{
	code=0
	said=$("$programs/mer-migrate" "$@" --quiet up </dev/null 2>&1) || code=$?
}

# True where no server of databases is to be seen. One that is there, but does not let anybody in yet,
# mer-migrate waits for itself.
nobody_listens()
{
	[ "$code" -eq 4 ] || return
	case $said in
	*'is its server running?'*) ;;
	*) return 1 ;;
	esac
	if [ -z "$waiting" ]; then
		waiting=yes
		say "waiting for the database server"
	fi
}

# migrate ARGUMENT...: brings the database up to date that mer is about to use. It is named by the
# settings, or by those of mer's own options, before its command, that mer-migrate has too.
migrate()
{
	database=
	env_file=
	while [ $# -gt 0 ]; do
		case $1 in
		--database | --env-file | --log | -c | -f)
			[ $# -ge 2 ] || return 0 # mer says what is wrong with it
			case $1 in
			--database) database=$2 ;;
			--env-file) env_file=$2 ;;
			esac
			shift
			;;
		--database=*) database=${1#*=} ;;
		--env-file=*) env_file=${1#*=} ;;
		--help | --version | --print | help | version) return 0 ;; # they need no database
		-?*) ;;
		*) break ;;
		esac
		shift
	done

	if [ -n "$prepared" ]; then
		say "migrating"
	fi
	set -- ${database:+--database "$database"} ${env_file:+--env-file "$env_file"}
	run_migrate "$@"
	for _ in $(seq $server_tries); do
		nobody_listens || break
		sleep 0.25
		run_migrate "$@"
	done
	if [ -n "$said" ]; then
		printf '%s\n' "$said" >&2
	fi
	if [ "$code" -ne 0 ]; then
		die $exit_database "cannot migrate the database: mer-migrate ended with $code"
	fi
}

if [ "${1-}" = --compose ]; then
	shift
	start_compose
	run_in_compose "$@"
fi
service=
if [ "${1-}" = --service ]; then
	service=yes
	shift
	if [ $# -ne 0 ]; then
		die 2 "--service stands alone; for a command, leave it out"
	fi
fi
prepared=
waiting=
is_current || prepare
if [ -n "$service" ] && systemd_runs; then
	start_service
	exit 0
fi
migrate "$@"
if [ -n "$service" ]; then
	without_systemd
	set -- --quiet doctor
fi
exec "$programs/mer" "$@"
