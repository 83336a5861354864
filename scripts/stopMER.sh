#!/bin/sh
# Ends what startMER.sh left running, and says so; silent, and still a success, when there is
# nothing.
set -eu

# One word for each thing that outlives its start, with a function stop_WORD that is silent when it
# is not running. None does so far: mer runs in the foreground, and its workers end with it.
services=

for service in $services; do
	"stop_$service"
done
