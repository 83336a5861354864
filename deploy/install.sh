#!/bin/sh
# Installs a list of packages into the image that is being built, and leaves nothing else of it.
#
#	install.sh LIST
#
# LIST is the name of a list in lib.sh, which is beside this script in the image. The packages come
# from where APT_SOURCES says (lines of a sources.list), or else from where the base image has its
# own.
set -eu
root=/
me=install
# shellcheck source=scripts/lib.sh
. "${0%/*}/lib.sh"
eval "packages=\${$1:?there is no such list}"

sources=$(mktemp)
set -- -q -y -o Acquire::Retries=3
if [ -n "${APT_SOURCES-}" ]; then
	printf '%s\n' "$APT_SOURCES" >"$sources"
	set -- "$@" -o Dir::Etc::SourceList="$sources" -o Dir::Etc::SourceParts=/dev/null
fi
export DEBIAN_FRONTEND=noninteractive
apt-get "$@" update
# shellcheck disable=SC2154,SC2086 # set by eval; a list
apt-get "$@" install --no-install-recommends $packages
rm -rf "$sources" /var/lib/apt/lists/* /var/cache/apt/*.bin /var/cache/apt/archives/*.deb \
	/var/cache/ldconfig/aux-cache /var/cache/debconf/*-old /var/log/apt /var/log/dpkg.log \
	/var/log/alternatives.log
