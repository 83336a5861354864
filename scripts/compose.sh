# shellcheck shell=sh
# The database by Compose, as docker-compose.yaml describes it: what startMER.sh --compose and
# stopMER.sh do. Sourced after lib.sh.
: "${root:?}" "${builds:?}" "${exit_database:?}" "${exit_packages:?}" "${exit_build:?}"
: "${sources:?}"

secrets=$root/secrets
secret=$secrets/database_password
image=localhost/mer
image_stamp=$builds/image.stamp # holds the id; as old as the sources that are in the image
started=$builds/compose.started # exists from the start by startMER.sh to the stop
healthy_within=180 # seconds; the health check gives up after 120

# find_compose: sets compose_command to the plugin, or to the program from 1.29 on, which is the
# first that waits for a service to complete.
find_compose()
{
	lacks=$(lacks_for_compose docker)
	if [ -n "$lacks" ]; then
		ensure_packages "$lacks"
	fi
	if docker compose version </dev/null >/dev/null 2>&1; then
		compose_command='docker compose'
	else
		version=$(docker-compose version --short </dev/null 2>/dev/null) || version=none
		case $version in
		none | 0.* | 1.? | 1.?.* | 1.1?.* | 1.2[0-8].*)
			die "$exit_packages" "Docker is here, but not Compose from 1.29 on ($version): install the" \
				"package docker-compose"
			;;
		esac
		compose_command=docker-compose
	fi
	reason=$(docker version --format '{{.Server.Version}}' </dev/null 2>&1 >/dev/null) ||
		die "$exit_database" "the Docker engine does not answer: $reason"
}

compose()
{
	# shellcheck disable=SC2086 # one or two words
	(cd "$root" && exec $compose_command "$@")
}

# containers_of OPTION...: ids of this project's containers.
containers_of()
{
	docker ps --no-trunc --quiet \
		--filter "label=com.docker.compose.project.working_dir=$root" "$@" </dev/null
}

# make_secret: a random password, in a folder that only its owner may enter. The file itself may be
# read by all: in a container it is another user who does. What exists is left as it is.
make_secret()
{
	if [ -d "$secrets" ] && ! [ -x "$secrets" ]; then
		return 0 # another user's, and the engine finds it
	fi
	if [ -d "$secret" ]; then
		rmdir "$secret" # made by an engine that was started without the file
	fi
	if [ ! -s "$secret" ]; then
		(
			umask 077
			mkdir -p "$secrets" && rm -f "$secret.new"
			LC_ALL=C tr -dc A-Za-z0-9 </dev/urandom | head -c 43 >"$secret.new"
			chmod 444 "$secret.new"
			mv -f "$secret.new" "$secret"
		) || die "$exit_database" "cannot make '$secret'"
	fi
	chmod 700 "$secrets"
}

image_is_current()
{
	[ -f "$image_stamp" ] || return
	IFS= read -r built <"$image_stamp" || return
	[ "$(docker image inspect --format '{{.Id}}' "$image" </dev/null 2>/dev/null)" = "$built" ] &&
		[ -z "$(sources="$sources bench deploy .dockerignore"; changed_since "$image_stamp")" ]
}

build_image()
{
	say "building the image"
	rm -f "$image_stamp"
	: >"$image_stamp.began" # now, so that an edit during the build counts as newer
	: >"$builds/log/image.log"
	quietly image compose build migrate || {
		build_failed image
		exit "$exit_build"
	}
	docker image inspect --format '{{.Id}}' "$image" </dev/null >"$image_stamp.new"
	touch -r "$image_stamp.began" "$image_stamp.new"
	mv -f "$image_stamp.new" "$image_stamp"
	rm -f "$image_stamp.began"
}

db_is_healthy()
{
	[ -n "$(containers_of --filter label=com.docker.compose.service=db --filter health=healthy)" ]
}

# up: the database is there and healthy, and a migration has begun. Compose would wait for ever for
# a database that ends and is started again, over and over; so its first end is the end of this.
up()
{
	quietly compose compose up -d db || return
	database=$(containers_of --filter label=com.docker.compose.service=db) || return
	# shellcheck disable=SC2086 # one or two words
	(
		cd "$root" || exit
		quietly compose exec timeout -k 10 "$healthy_within" $compose_command up -d migrate
	) &
	starting=$!
	(
		waiter=
		trap 'kill "$waiter" 2>/dev/null; exit 0' TERM
		timeout -k 10 "$healthy_within" docker wait "$database" </dev/null >/dev/null 2>&1 &
		waiter=$!
		wait "$waiter" && kill "$starting"
	) 9>&- &
	watching=$!
	code=0
	wait "$starting" || code=$?
	kill "$watching" 2>/dev/null || :
	wait "$watching" || :
	return "$code"
}

# wait_for_migration: sets migration, its container, and code, its exit code.
wait_for_migration()
{
	migration=$(containers_of --all --filter label=com.docker.compose.service=migrate \
		--filter label=com.docker.compose.oneoff=False) &&
		code=$(docker wait "$migration" </dev/null)
}

# mend_login: makes the server take the password of the file, and have the database. Neither is so
# when the password was made anew beside an older volume, or when the first start of all was ended
# half way.
mend_login()
{
	# shellcheck disable=SC2016 # it is for the shell in the container
	{
		cat "$secret"
		cat <<-'SQL'

			\getenv password PASSWORD
			ALTER ROLE mer PASSWORD :'password';
			SELECT 'CREATE DATABASE mer'
			WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = 'mer') \gexec
		SQL
	} | compose exec -T db sh -c 'IFS= read -r PASSWORD && export PASSWORD && exec psql --no-psqlrc \
		--quiet --set=ON_ERROR_STOP=1 --username=mer --dbname=postgres' >>"$builds/log/compose.log" 2>&1
}

not_up()
{
	show_log "$builds/log/compose.log"
	say "the database did not start; the end of what it says:"
	compose logs --no-color --tail=20 db </dev/null >&2 || :
	exit "$exit_database"
}

start_compose()
{
	find_compose
	make_builds_folder
	take_lock compose
	: >"$builds/log/compose.log"
	make_secret
	: >"$started"
	image_is_current || build_image
	if ! db_is_healthy; then
		say "starting the database"
	fi
	if ! up; then
		if db_is_healthy; then
			not_up
		fi
		say "what an earlier start has left is in the way; taking it down, the data stays"
		quietly compose compose down || :
		up || not_up
	fi
	wait_for_migration || not_up
	if [ "$code" -eq 4 ]; then
		say "the database does not take the password of '$secret'; setting it"
		if ! mend_login || ! up || ! wait_for_migration; then
			not_up
		fi
	fi
	if [ "$code" -ne 0 ]; then
		docker logs --tail 20 "$migration" </dev/null >&2 || :
		die "$exit_database" "cannot migrate the database: mer-migrate ended with $code"
	fi
	drop_lock
}

# pass_on SIGNAL: to mer, which cancels its run and records that. Compose itself would leave it running,
# or kill it; it gets the signal only where there is no mer yet.
pass_on()
{
	if docker kill --signal="$1" "$container" </dev/null >/dev/null 2>&1; then
		signalled=yes
	else
		kill "$client" 2>/dev/null || :
	fi
}

# run_in_compose ARGUMENT...: mer in a container of its own, and the exit code of that. Without a
# terminal on both ends stdout is the model's, byte for byte, and Compose is out of reach of signals.
run_in_compose()
{
	cd "$root" || exit
	container=mer-run-$(date +%s%N)-$$
	signalled=
	exec 3<&0 # what is started with & has no stdin otherwise
	# shellcheck disable=SC2086 # one or two words
	if [ -t 0 ] && [ -t 1 ]; then
		$compose_command run --no-deps --name "$container" mer "$@" <&3 3<&- &
	else
		setsid $compose_command run --no-deps --name "$container" -T mer "$@" <&3 3<&- &
	fi
	client=$!
	for signal in HUP INT TERM; do
		# shellcheck disable=SC2064 # the signal of this round
		trap "pass_on $signal" $signal
	done
	exec 3<&-
	code=0
	wait "$client" || code=$?
	while kill -0 "$client" 2>/dev/null; do # a signal came in between
		code=0
		wait "$client" || code=$?
	done
	if [ -n "$signalled" ]; then
		ended=$(docker wait "$container" </dev/null 2>/dev/null) && code=$ended
	fi
	docker rm --force "$container" </dev/null >/dev/null 2>&1 || :
	exit "$code"
}

# stop_compose: silent when nothing is there. Whoever is at work gets the time that
# docker-compose.yaml gives, before the database goes.
stop_compose()
{
	command -v docker >/dev/null || return 0
	find_compose
	make_builds_folder
	take_lock compose
	if [ -n "$(containers_of --all)" ]; then
		say "stopping the database; the data stays"
		: >"$builds/log/compose.log"
		# shellcheck disable=SC2046 # ids
		set -- $(containers_of --filter label=com.docker.compose.service=mer)
		if [ $# -gt 0 ]; then
			quietly compose docker stop "$@" || :
		fi
		# shellcheck disable=SC2046 # ids
		set -- $(containers_of --all --filter label=com.docker.compose.service=mer)
		if [ $# -gt 0 ]; then # their start may have been killed
			quietly compose docker rm --force "$@" || :
		fi
		quietly compose compose down || {
			show_log "$builds/log/compose.log"
			die 1 "cannot stop it"
		}
	fi
	rm -f "$started"
	drop_lock
}
