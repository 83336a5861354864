#!/bin/sh
# Ends what startMER.sh left running, and says so; silent, and still a success, when there is
# nothing. No data is lost.
#
#	stopMER.sh [--compose]
#
# mer runs in the foreground, and its workers end with it; so what stays is the database that
# 'startMER.sh --compose' started. --compose: also one that Compose was told to start by hand.
set -eu
self=$(readlink -f -- "$0")
root=${self%/*/*}
me=stopMER
# shellcheck source=scripts/lib.sh
. "$root/scripts/lib.sh"
# shellcheck source=scripts/compose.sh
. "$root/scripts/compose.sh"

if [ "${1-}" = --compose ] || [ -f "$started" ]; then
	stop_compose
fi
