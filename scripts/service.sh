# shellcheck shell=sh
# The units of systemd, of the build in this place: what startMER.sh --service and stopMER.sh do with
# them. Sourced after lib.sh.
: "${root:?}" "${builds:?}" "${exit_database:?}" "${exit_packages:?}"

service_prefix=$builds/mer
units=$service_prefix/lib/systemd/system
linked=/etc/systemd/system/mer-migrate.service # is one of ours while they are known to systemd
exit_fault=9 # as mer doctor's

systemd_runs()
{
	[ -d /run/systemd/system ]
}

is_linked()
{
	[ "$(readlink -- "$linked" 2>/dev/null)" = "$units/mer-migrate.service" ]
}

# without_systemd: what there is to say where nothing starts units.
without_systemd()
{
	say "systemd does not run here, so no unit was installed; the database is ready." \
		"For jobs by cron see docs/cron.md, for containers startMER.sh --compose"
}

# may_be_used: the units' user has to get at the programs, which a checkout in somebody's home does not let
# it.
may_be_used()
{
	as_root runuser -u mer -- "$service_prefix/bin/mer" --version </dev/null >/dev/null 2>&1 ||
		die "$exit_packages" "the user 'mer' cannot run '$service_prefix/bin/mer': install it where" \
			"others may read it (scripts/package, or meson install --prefix=/opt/mer)"
}

# start_service: the database of the units' user is brought up to date and looked at; from then on that
# is done at each boot, and each morning. Jobs are for the administrator to add.
start_service()
{
	may_become_root || die "$exit_packages" "units of systemd take root; run this as root or with sudo"
	as_root systemd-sysusers "$service_prefix/lib/sysusers.d/mer.conf" || exit
	as_root systemd-tmpfiles --create "$service_prefix/lib/tmpfiles.d/mer.conf" || exit
	may_be_used
	as_root systemctl --quiet link "$units"/mer-doctor.service "$units"/mer-doctor.timer \
		"$units/mer-migrate.service" "$units/mer@.service" "$units/mer@.timer" || exit
	as_root systemctl --quiet enable mer-migrate.service mer-doctor.timer || exit
	as_root systemctl restart mer-migrate.service ||
		die "$exit_database" "cannot migrate the database: journalctl -u mer-migrate.service says why"
	as_root systemctl start mer-doctor.timer || exit
	as_root systemctl start mer-doctor.service ||
		die $exit_fault "something is wrong: journalctl -u mer-doctor.service says what"
	say "the service is ready; jobs are /etc/mer/jobs/NAME.mer, started by" \
		"'systemctl enable --now mer@NAME.timer'"
}

# stop_service: jobs at work are told to end, and no unit stays; no data is lost.
stop_service()
{
	may_become_root || die "$exit_packages" "units of systemd take root; run this as root or with sudo"
	say "stopping the service; the data stays"
	as_root systemctl stop 'mer@*.timer' 'mer@*.service' mer-doctor.timer mer-doctor.service \
		mer-migrate.service || exit
	as_root systemctl --quiet disable mer@.timer mer@.service mer-doctor.timer mer-doctor.service \
		mer-migrate.service || exit
}
