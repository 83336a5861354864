# shellcheck shell=sh
# shellcheck disable=SC2154 # what is in front of it sets the rest
# The far supervisor of a worker: what mer sends to a shell on another host in front of each worker, over
# the channel that is then the worker's (docs/ssh.md). Nothing of it stays there. mer takes comments and
# indents out, puts assignments in front (src/meal/far.c) and calls one of
#
#   far_serve WORD...        supervises the worker whose command line WORDs are
#   far_watch PID TIMER MODE takes orders for that worker, a line each, over a channel of its own
#
# with far_nonce (marks are told by it), far_id (what all processes of the worker are told by), far_dir (the
# worker's folder, "": the home), far_silence (seconds without a word from mer after which it is
# ended, once it has had one), far_clean (1: a login's environment), far_probe (1: nothing is run) and
# far_env (a function that exports the worker's variables). LC_ALL is C, so that no shell takes bytes for
# characters; far_lc has what it was, behind an x where it was set.
#
# Marks are lines on stderr, "\036MER-NONCE WHAT...\n", each one write. A POSIX sh is all that this needs. Perl,
# where there is one, tells signals from exit codes and why a program cannot be started.

far_mark()
{
	printf '\036MER-%s %s\n' "$far_nonce" "$*" >&2
}

far_fail()
{
	far_mark fail "$@"
	exit 1
}

# The pids of what carries the worker's mark, but for its parent, which tells how it ended.
far_marked()
{
	# shellcheck disable=SC2013 # these names have no spaces
	for far_file in $(grep -lsF "MER_FAR=$far_id" /proc/[0-9]*/environ 2>/dev/null); do
		far_one=${far_file#/proc/}
		far_one=${far_one%/environ}
		[ "$far_one" = "$far_pid" ] || echo "$far_one"
	done
}

# Kills what is left of the worker: those that have left its group too, as long as they bear the mark.
far_sweep()
{
	far_round=0
	while [ "$far_round" -lt 50 ]; do
		far_left=$(far_marked)
		[ -n "$far_left" ] || return 0
		# shellcheck disable=SC2086 # a list
		kill -9 $far_left 2>/dev/null
		far_round=$((far_round + 1))
		[ "$far_round" -lt 3 ] || sleep 1 >/dev/null 2>&1
	done
}

# far_order TERM|KILL: to the worker's group, by its parent where that is perl.
far_order()
{
	case $far_mode$1 in
	perlTERM) kill -TERM "$far_pid" ;;
	perlKILL) kill -USR1 "$far_pid" ;;
	*TERM) kill -TERM "-$far_pid" && kill -CONT "-$far_pid" ;;
	*) kill -KILL "-$far_pid" ;;
	esac 2>/dev/null
}

far_kill()
{
	far_order KILL
	far_sweep
}

# A worker's program: 0 it is there, else why not.
far_look()
{
	case $1 in
	*/*)
		[ -e "$1" ] || far_fail missing
		[ ! -d "$1" ] || far_fail folder
		[ -x "$1" ] || far_fail denied
		return 0
		;;
	esac
	far_found=
	far_ifs=$IFS
	IFS=:
	set -f
	for far_place in ${PATH-/bin:/usr/bin}; do
		[ ! -f "${far_place:-.}/$1" ] || far_found=${far_found:-no}
		if [ -f "${far_place:-.}/$1" ] && [ -x "${far_place:-.}/$1" ]; then
			far_found=yes
		fi
	done
	set +f
	IFS=$far_ifs
	case $far_found in
	yes) ;;
	no) far_fail denied ;;
	*) far_fail missing ;;
	esac
}

# What the worker's program finds: of the environment that is there only what a login has with
# far_clean, then its own variables and its folder. In a subshell: our own tools are to be found as before.
far_enter()
{
	if [ -n "$far_clean" ]; then
		for far_name in $(env | sed -n 's/^\([A-Za-z_][A-Za-z_0-9]*\)=.*/\1/p'); do
			case $far_name in
			HOME | LANG | LC_* | LOGNAME | PATH | SHELL | TMPDIR | TZ | USER) ;;
			*) command unset "$far_name" 2>/dev/null ;;
			esac
		done
	fi
	case $far_lc in
	x*) LC_ALL=${far_lc#x} ;;
	*) unset LC_ALL ;;
	esac
	far_env
	if [ -n "$far_dir" ]; then
		unset CDPATH
		cd "$far_dir" >/dev/null 2>&1 || far_fail workdir
	fi
	MER_FAR=$far_id
	export MER_FAR
}

# The parent of a worker: makes a group of its own for it, and reports. TERM and USR1 are orders.
# shellcheck disable=SC2016 # for perl
far_perl='
my $head = "\036MER-" . shift(@ARGV) . " ";
my $child = 0;
sub mark { my $line = $head . join(" ", @_) . "\n"; syswrite STDERR, $line; }
$SIG{TERM} = sub { kill "TERM", -$child if $child; kill "CONT", -$child if $child; };
$SIG{USR1} = sub { kill "KILL", -$child if $child; };
$SIG{PIPE} = $SIG{HUP} = $SIG{INT} = $SIG{QUIT} = "IGNORE";
pipe(my $hear, my $tell) or do { mark("fail", "fork", $! + 0); exit 0 };
$child = fork;
defined $child or do { mark("fail", "fork", $! + 0); exit 0 };
if ($child == 0) {
	setpgrp(0, 0);
	$SIG{$_} = "DEFAULT" for qw(HUP INT QUIT PIPE ALRM TERM USR1 USR2 CHLD TSTP TTIN TTOU);
	my ($why, $first) = (8, "#!"); # ENOEXEC, before execvp hands a text to a shell
	if (-f $ARGV[0] && -T _ && -s _ && open my $file, "<", $ARGV[0]) { read $file, $first, 2 }
	if ($first eq "#!") { no warnings; exec { $ARGV[0] } @ARGV; $why = $! + 0 }
	syswrite $tell, $why;
	kill "KILL", $$;
}
setpgrp($child, $child);
close $tell;
my $why = "";
1 while !defined(sysread $hear, $why, 16) && $!{EINTR};
if ($why ne "") { waitpid $child, 0; mark("fail", "exec", $why); exit 0 }
open STDIN, "<", "/dev/null";
open STDOUT, ">", "/dev/null";
mark("started", $child);
1 while waitpid($child, 0) == -1 && $!{EINTR};
my $status = $?;
kill "KILL", -$child;
mark($status & 127 ? ("signal", $status & 127) : ("exit", $status >> 8));
'

# Runs the worker in the background as far_pid; 4 is its stdin and 3 its stdout.
far_start()
{
	far_mode=perl
	far_tool=$(command -v perl) && "$far_tool" -e 'exit 0' 3>&- 4>&- >/dev/null 2>&1 || far_mode=plain
	if [ "$far_mode" = perl ]; then
		(
			far_enter
			exec "$far_tool" -e "$far_perl" -- "$far_nonce" "$@"
		) <&4 >&3 3>&- 4>&- &
		far_pid=$!
		return
	fi
	far_alone=$(command -v setsid) || far_alone=
	far_default=
	if env --default-signal=INT,QUIT,PIPE true 3>&- 4>&- >/dev/null 2>&1; then
		far_default="$(command -v env) --default-signal=INT,QUIT,PIPE --"
	fi
	[ -n "$far_alone" ] || set -m 2>/dev/null # a group of its own at least
	(
		far_enter
		trap - PIPE HUP
		# shellcheck disable=SC2086 # words
		exec $far_alone $far_default "$@"
	) <&4 >&3 3>&- 4>&- &
	far_pid=$!
	set +m
	far_mark started "$far_pid"
}

# Ends the worker when the channel is dead, when mer has not been heard of for too long, or when its
# supervisor was killed. Each second is a beat.
far_tick()
{
	far_silent=0
	far_heard=
	trap 'far_silent=0 far_heard=1' USR1
	while sleep 1 >/dev/null 2>&1; do
		far_silent=$((far_silent + 1))
		far_mark beat || break
		kill -0 "$far_self" 2>/dev/null || break
		[ -z "$far_heard" ] || [ "$far_silent" -le "$far_silence" ] || break
	done
	far_kill
}

far_serve()
{
	trap '' PIPE HUP
	printf '\036MER-%s up\n' "$far_nonce"
	far_mark up
	far_self=$$
	far_pid=
	(
		far_enter
		far_look "$1"
	) || exit 0
	if [ -n "$far_probe" ]; then
		far_mark there
		exit 0
	fi
	exec 3>&1 4<&0 </dev/null >/dev/null
	far_start "$@"
	exec 3>&- 4<&-
	far_tick &
	far_timer=$!
	far_mark watch "$far_pid" "$far_timer" "$far_mode"
	{ wait "$far_pid"; } 2>/dev/null
	far_code=$?
	if [ "$far_mode" = plain ]; then
		kill -KILL "-$far_pid" 2>/dev/null
		if [ "$far_code" -gt 128 ]; then
			far_mark signal "$((far_code - 128))"
		else
			far_mark exit "$far_code"
		fi
	fi
	far_pid=
	far_sweep
	far_mark gone
	kill -KILL "$far_timer" 2>/dev/null
	exit 0
}

far_watch()
{
	trap '' PIPE HUP
	far_pid=$1
	far_timer=$2
	far_mode=$3
	far_mark up
	while IFS= read -r far_word; do
		case $far_word in
		beat) kill -USR1 "$far_timer" 2>/dev/null ;;
		term) far_order TERM ;;
		kill) far_kill ;;
		leave) exit 0 ;;
		esac
	done
	kill -0 "$far_timer" 2>/dev/null && far_order KILL
	far_pid=
	far_sweep
	exit 0
}
