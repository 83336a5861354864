#!/bin/sh
# Ends what startMER.sh left running, and says so; silent, and still a success, when there is
# nothing. No data is lost.
#
#	stopMER.sh [--compose | --service]
#
# mer runs in the foreground, and its workers end with it; so what stays is the database that
# 'startMER.sh --compose' started, and the units that 'startMER.sh --service' installed. --compose: also
# a database that Compose was told to start by hand. --service: the units alone.
set -eu
self=$(readlink -f -- "$0")
root=${self%/*/*}
me=stopMER
# shellcheck source=scripts/lib.sh
. "$root/scripts/lib.sh"
# shellcheck source=scripts/compose.sh
. "$root/scripts/compose.sh"
# shellcheck source=scripts/service.sh
. "$root/scripts/service.sh"

if systemd_runs && is_linked && [ "${1-}" != --compose ]; then
	stop_service
fi
if [ "${1-}" = --compose ] || { [ -f "$started" ] && [ "${1-}" != --service ]; }; then
	stop_compose
fi
