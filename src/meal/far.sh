# shellcheck shell=sh
# shellcheck disable=SC2154 # what is in front of it sets the rest
# The far supervisor of a worker: what mer sends to a shell on another host in front of each worker, over
# the channel that is then the worker's (docs/ssh.md). Nothing of it stays there. mer takes comments and
# indents out (src/meal/far.c) and calls one of
#
#   far_serve                supervises the worker that a header tells of, once it comes
#   far_watch PID TIMER MODE takes orders for that worker, a line each, over a channel of its own; with a fourth
#                            word that came by another login, so that this need not be the same host
#
# Its first line is "NONCE ID SILENCE": marks are told by the nonce, all processes of the worker by the
# id, and the worker is ended after so many seconds without a word from mer; 0: never. LC_ALL is
# C, so that no shell takes bytes for characters; far_lc has what it was, behind an x where it was set.
#
# The header is the number of its bytes, then text for a shell: far_dir (the worker's folder, "": the
# home), far_clean (1: a login's environment), far_probe (1: nothing is run), far_room (what makes a
# folder of its own for the worker, "": it has none), far_env (a function that exports the worker's
# variables; far_odd is one that the shell does not take), and the worker's command line as arguments; then the nonce.
# The worker starts, and whatever is to be said of it is said, when the line "go" has come behind it. All that can be
# done before is done by then, since a run may be waiting for nothing else.
#
# Marks are lines on stderr, "\036MER-NONCE WHAT...\n", each one write. A POSIX sh is all that this needs.
# Perl, where there is one, takes its place: it starts programs sooner, tells signals from exit codes and
# why a program cannot be started, and on Linux knows all that the worker has left behind.

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

# Whether it is a pid, and of one process: to kill, 0 and -1 are many, and 1 is once there is a sign before it.
far_is_pid()
{
	case $1 in
	'' | *[!0-9]* | 0* | 1) return 1 ;;
	esac
}

# far_order TERM|KILL: to the worker's group, by its parent where that is perl.
far_order()
{
	far_is_pid "$far_pid" || return 0
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
	far_clear
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
	for far_place in $far_path; do
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

# What the worker's program finds: of the environment that is there only what a login has with far_clean,
# and its folder. In a subshell, as what follows.
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
	if [ -n "$far_dir" ]; then
		cd "$far_dir" >/dev/null 2>&1 || far_fail workdir
	fi
}

# Whether NAME=VALUE holds.
far_same()
{
	eval "[ \"\${${1%%=*}}\" = \"\${1#*=}\" ]"
}

# Its own variables, among which may be those that a shell lives by: behind it nothing is looked for or split.
far_dress()
{
	far_odd=
	far_env
	MER_FAR=$far_id
	export MER_FAR
}

# Whether it can be started.
far_try()
{
	far_enter
	far_ifs=$IFS
	far_tools=$PATH
	far_dress
	far_path=${PATH-/bin:/usr/bin}
	IFS=$far_ifs
	PATH=$far_tools
	[ -z "$far_odd" ] || far_fail variable "$far_odd"
	far_look "$1"
}

# A worker's folder, /tmp/mer-OWN, with links to what it is lent of mer's cache (lend.sh); its name is known
# before ours, and /tmp/mer-ID leads there. What far_room calls of this, in a shell of its own behind the header,
# says on stdout why there can be none, in the words of far_fail.
# shellcheck disable=SC2016 # for that shell
far_rooms='
umask 077
LC_ALL=C
export LC_ALL
case ${XDG_CACHE_HOME-} in
/*) cache=$XDG_CACHE_HOME/mer ;;
*) cache=$HOME/.cache/mer ;;
esac
no() { echo "$@"; exit 1; }
lacks=
knows() { # y|n|a: it is there, nothing of it is there, or that is to be asked (lend.sh)
	lacks=$lacks$1
}
same() { # RECORD PATH
	how=
	[ -f "$1" ] && read -r how <"$1"
	case $how in
	-newer | -cnewer) [ -z "$(find -L "$2" "$how" "$1" 2>&1)" ] ;;
	*) false ;;
	esac
}
lent() { # KEY
	if same "$cache/files/$1.ok" "$cache/files/$1"; then
		knows y
	elif [ -e "$cache/files/$1" ] || [ -e "$cache/files/$1.part" ]; then
		knows a
	else
		knows n
	fi
}
there() { # KEY PATH
	if same "$cache/there/$1" "$2" && [ "$(cat "$cache/there/$1.path" 2>&1)" = "$2" ]; then
		knows y
	else
		knows a
	fi
}
room() { # FOLDER
	case $lacks in
	*[na]*) no lacks "$lacks" ;;
	esac
	own=$1
	mkdir -m 700 "$own" 2>/dev/null && ln -s "$own" "/tmp/mer-$MER_FAR" || no room
}
link() { # NUMBER NAME KEY
	mkdir "$own/$1" && ln -s "$cache/files/$3" "$own/$1/$2" || no room
}
makes() {
	mkdir -p "$cache/made" "$cache/new/${own##*-}" && ln -s "$cache/new/${own##*-}" "$own/new" || no cache
}
input() { # what ends it
	cat >"$own/input" || no input
	n=$(wc -c <"$own/input")
	n=$((n - ${#1}))
	[ "$n" -ge 0 ] && [ "$(tail -c "${#1}" "$own/input")" = "$1" ] || no input
	dd if=/dev/null of="$own/input" bs=1 seek="$n" 2>/dev/null || no input
}
limit() { # NAME COMMAND
	(eval "$2") >/dev/null 2>&1 || no limit "$1"
}
program() { # NAME FOLDER
	[ -z "$2" ] || cd "$2" >/dev/null 2>&1 || no workdir
	case $1 in
	*/*)
		[ -e "$1" ] || no missing
		[ ! -d "$1" ] || no folder
		[ -x "$1" ] || no denied
		;;
	*) command -v "$1" >/dev/null 2>&1 || no missing ;;
	esac
	cd /
}
'

# What a training works on is nobody's once it is a month old (lend.sh); this one is alive.
far_keep()
{
	[ -h "/tmp/mer-$far_id/new" ] || return 0
	find -H "/tmp/mer-$far_id/new" -prune -mtime +0 -exec touch {} \; >/dev/null 2>&1
}

# Removes it, and what a training has left of its work.
far_clear()
{
	[ -h "/tmp/mer-$far_id" ] || return 0
	far_own=$(readlink "/tmp/mer-$far_id")
	case $far_own in
	/tmp/mer-?*) ;;
	*) return 0 ;;
	esac
	far_new=$(readlink "$far_own/new")
	rm -rf ${far_new:+"$far_new"} "$far_own" "/tmp/mer-$far_id" 2>/dev/null
}

# The same in Perl: three processes, of which each is told at once when another one dies. One becomes the
# worker when its header has come; one waits for it; and one gives beats and sees to the channel.
# shellcheck disable=SC2016 # for perl
far_perl='
my ($id, $silence, $head, $lc, $rooms) = ("", 0, "", @ARGV);
my ($self, $child, $ticker, $adopts, $children) = ($$, 0, 0, 0);
sub mark { my $text = join "", map { "$head$_\n" } @_; return defined syswrite STDERR, $text; }

# No byte more than that: what is behind them is the input of the worker.
sub take {
	my $text = "";
	while (length $text < $_[0]) {
		my $got = sysread STDIN, $text, $_[0] - length $text, length $text;
		next if !defined $got && $! == 4; # EINTR
		return undef if !$got;
	}
	return $text;
}
sub line {
	my $text = "";
	while (length $text < 200) {
		my $byte = take(1);
		return undef if !defined $byte;
		return $text if $byte eq "\n";
		$text .= $byte;
	}
	return undef;
}
sub idle { open STDIN, "<", "/dev/null"; open STDOUT, ">", "/dev/null"; }

sub pids {
	opendir my $folder, "/proc" or return;
	return grep { /^\d+$/ } readdir $folder;
}
sub about {
	local $/;
	open my $from, "<", "/proc/$_[0]/$_[1]" or return "";
	my $text = <$from>;
	return defined $text ? $text : "";
}

# The pids of what bears the mark of the worker.
sub marked { return grep { about($_, "environ") =~ /(?:^|\0)MER_FAR=$id\0/ } pids(); }

# The pids of what descends from us: what its own parents have left comes to us.
sub descended {
	my (%parent, @found);
	about($_, "stat") =~ /^(\d+) .*\) \S (\d+) /s and $parent{$1} = $2 for pids();
	for my $pid (keys %parent) {
		my $above = $parent{$pid};
		for (my $depth = 0; $above && $above != $self && $depth < 10000; $depth++) { $above = $parent{$above}; }
		# Pids that were given anew while they were read may be a ring, which does not lead to us.
		push @found, $pid if $above && $above == $self;
	}
	return @found;
}

# Whether nothing is left of the worker, where that is soon told: we have no child but the ticker.
sub alone {
	my $left = "";
	return $adopts && $children && sysseek($children, 0, 0) && sysread($children, $left, 200) && $left eq "$ticker ";
}

# Kills what is left of the worker.
sub sweep {
	for my $round (1 .. 100) {
		my @left;
		if ($adopts) {
			my $pid = 1;
			$pid = waitpid -1, 1 while $pid > 0;
			return if $pid == -1;
			@left = descended();
		} else {
			@left = marked() or return;
		}
		kill "KILL", @left;
		select undef, undef, undef, $round < 50 ? 0.005 : 0.1;
	}
}

# The folder of the worker.
sub keep { # as far_keep does
	my @info = stat "/tmp/mer-$id/new" or return;
	utime undef, undef, "/tmp/mer-$id/new" if $info[9] < time - 86400;
}
sub clear {
	my $own = readlink "/tmp/mer-$id";
	return if !defined $own || $own !~ m{^/tmp/mer-\w};
	my $new = readlink "$own/new";
	system "rm", "-rf", "--", defined $new ? $new : (), $own, "/tmp/mer-$id";
}
sub furnish {
	local $ENV{MER_FAR} = $id;
	open my $from, "-|", "/bin/sh", "-c", "$rooms\n$_[0]" or return "room";
	my $why = <$from>;
	close $from;
	return !defined $why ? $? ? "room" : "" : $why =~ /^([\w -]+)$/ ? $1 : "room";
}

# What becomes the worker.
sub word { # behind its quote, as a shell reads it
	my $text = "";
	for (;;) {
		my $from = pos;
		my $to = index $_, "\047", $from;
		$text .= substr $_, $from, $to - $from;
		pos = $to + 1;
		return $text if substr($_, $to + 1, 3) ne "\\\047\047";
		$text .= "\047";
		pos = $to + 4;
	}
}
sub find {
	my ($name, $why) = ($_[0], "missing");
	if ($name =~ m{/}) {
		return $name if -f $name && -x _;
		return (undef, !-e $name ? "missing" : -d _ ? "folder" : "denied");
	}
	for my $folder (split /:/, defined $ENV{PATH} ? $ENV{PATH} : "/bin:/usr/bin", -1) {
		my $path = ($folder eq "" ? "." : $folder) . "/$name";
		next if !-f $path;
		return $path if -x _;
		$why = "denied";
	}
	return (undef, $why);
}
sub leave { my $tell = shift; mark(@_) if @_; syswrite $tell, "x"; kill "KILL", $$; }
sub parse {
	local $_ = shift;
	my (%told, %env, @argv);
	while (/\G[^\047]*?(far_\w+=|\w+=| )\047/gc) {
		my ($key, $value) = ($1, word());
		if ($key eq " ") { push @argv, $value }
		elsif ($key =~ /^far_(.*)=/) { $told{$1} = $value }
		else { chop $key; $env{$key} = $value }
	}
	return (\%told, \%env, @argv);
}
sub is_text { # and no program, which execvp would hand to a shell
	my $first = "";
	if (open my $file, "<", $_[0]) { sysread $file, $first, 4 }
	return $first ne "" && $first !~ /^(?:#!|\177ELF)/ && -T $_[0];
}
sub settle { # what the header says but its room, which takes input. Returns what is to be said, or the path of the program
	my ($told, $env, $name) = @_;
	if ($told->{clean}) {
		/^(?:HOME|LANG|LC_.*|LOGNAME|PATH|SHELL|TMPDIR|TZ|USER)$/ or delete $ENV{$_} for keys %ENV;
	}
	$ENV{$_} = $env->{$_} for keys %$env;
	$ENV{MER_FAR} = $id;
	return "fail workdir" if $told->{dir} ne "" && !chdir $told->{dir};
	my ($path, $why) = find($name);
	return "fail $why" if !defined $path;
	return "there" if $told->{probe};
	return "fail exec 8" if is_text($path); # ENOEXEC
	return ("", $path);
}
sub wait_for_go {
	my $word = line();
	leave(shift) if !defined $word || $word ne "go";
}
sub become {
	my ($tell, $gate) = @_;
	$SIG{$_} = "DEFAULT" for qw(HUP INT QUIT PIPE ALRM TERM USR1 USR2 CHLD TSTP TTIN TTOU);
	delete $ENV{LC_ALL};
	$ENV{LC_ALL} = $1 if $lc =~ /^x(.*)/s;
	parse("far_x=\047\047\nexport X=\047x\047\\\047\047x\047\nset -- \047x\047"); # once, for pages and tables that it needs
	find("sh") and is_text("/bin/sh");
	mark("up");
	syswrite STDOUT, "${head}up\n";
	my $n = line();
	my $header = defined $n && $n =~ /^\d{1,9}$/ ? take($n) : undef;
	leave($tell) if !defined $header;
	my ($told, $env, @argv) = parse($header);
	my $has_room = defined $told->{room} && $told->{room} ne "";
	wait_for_go($tell) if $has_room;
	my $lacks = $has_room ? furnish($told->{room}) : "";
	leave($tell, "fail $lacks") if $lacks ne "";
	my ($why, $path) = settle($told, $env, $argv[0]);
	wait_for_go($tell) if !$has_room;
	leave($tell, $why) if $why ne "";
	leave($tell) if !sysread $gate, my $byte, 1; # before it has a ticker the worker could stop our parent for ever
	{ no warnings; exec { $path } @argv }
	leave($tell, "fail exec " . ($! + 0));
}

# What gives beats, and ends the worker when the channel is dead, when mer has not been heard of for too
# long, or when its parent was killed.
sub tick {
	my $from = shift;
	my ($silent, $begun, $due) = (-30, 0, 0); # its first word takes a login shell
	$SIG{USR1} = sub { $silent = 0 };
	$SIG{TERM} = "IGNORE";
	for (;;) {
		my ($in, $out) = ("", "");
		vec($in, fileno $from, 1) = 1;
		vec($out, fileno STDERR, 1) = 1;
		my $n = select $in, undef, undef, 1;
		next if $n < 0 && time < $due; # the words of mer, each of which would put that off for a second
		if ($n > 0) {
			my $got = sysread $from, my $byte, 1;
			last if defined $got && $got == 0;
			if ($got && $byte eq "q") { # at once: what a process holds it lets go of late as it ends
				close STDERR;
				return;
			}
			$begun = 1;
			next;
		}
		$due = time + 1;
		kill "CONT", $self; # its worker may have stopped it
		next if !$begun;
		keep();
		kill "ALRM", $self; # an order that came amid its call is looked at now
		last if select(undef, $out, undef, 0) > 0 && !mark("beat");
		last if $silence && ++$silent > $silence;
	}
	kill "KILL", -$child, $child;
	kill "CONT", $self; # what it does about its end is more than what follows
	$adopts = 0;
	sweep();
	clear();
	for (my $round = 0; getppid() == $self; $round++) {
		kill $round < 50 ? "CONT" : "KILL", $self;
		select undef, undef, undef, 0.1;
	}
}

$SIG{$_} = "IGNORE" for qw(PIPE HUP INT QUIT);
$SIG{CHLD} = "DEFAULT";
my $names = line();
exit 0 if !defined $names || $names !~ /^(\w+) (\w+) (\d+)$/;
($head, $id, $silence) = ("\036MER-$1 ", $2, $3);
if ($^O eq "linux" && eval { require Config; 1 }) { # PR_SET_CHILD_SUBREAPER
	my %prctl = (x86_64 => 157, aarch64 => 167);
	my $number = $Config::Config{archname} =~ /^(x86_64|aarch64)-/ && $Config::Config{ptrsize} == 8 ? $prctl{$1} : 0;
	$adopts = $number && syscall($number, 36, 1, 0, 0, 0) == 0;
}
pipe(my $hear, my $tell) && pipe(my $gate, my $opens) or do { mark("fail fork " . ($! + 0)); exit 0 };
$child = fork;
defined $child or do { mark("fail fork " . ($! + 0)); exit 0 };
if ($child == 0) { close $opens; setpgrp 0, 0; become($tell, $gate) }
setpgrp $child, $child;
$SIG{TERM} = sub { kill "TERM", -$child; kill "CONT", -$child };
$SIG{USR1} = sub { kill "KILL", -$child };
$SIG{ALRM} = sub { };
idle();
close $tell;
close $gate;
pipe(my $from, my $to) and defined($ticker = fork) or do { kill "KILL", $child; mark("fail fork " . ($! + 0)); exit 0 };
if ($ticker == 0) { close $to; close $hear; close $opens; tick($from); kill "KILL", $$ }
syswrite $opens, ".";
close $opens;
close $from;
open $children, "<", "/proc/$self/task/$self/children" or undef $children;
alone();
my $why = "";
1 while !defined(sysread $hear, $why, 1) && $! == 4;
if ($why eq "") {
	mark("started $child", "watch $self $ticker perl");
	syswrite $to, ".";
	for (;;) {
		my $pid = waitpid -1, 0;
		last if $pid == $child || $pid == -1 && $! != 4;
		kill "KILL", -$child, $child if $pid == $ticker;
	}
	my $status = $?;
	syswrite $to, "q";
	kill "KILL", -$child;
	my $how = $status & 127 ? "signal " . ($status & 127) : "exit " . ($status >> 8);
	if (alone() && !-l "/tmp/mer-$id") {
		mark($how, "gone");
		close STDERR; # nobody waits for what follows
		$why = "gone";
	} else {
		mark($how);
	}
}
kill "KILL", $ticker;
waitpid $ticker, 0;
exit 0 if $why eq "gone";
sweep();
clear();
mark("gone") if $why eq "";
'

# Ends the worker when the channel is dead, when mer has not been heard of for too long, or when its
# supervisor or the other timer was killed. Each second is a beat, of which the other one gets a word.
far_tick()
{
	far_silent=-30 # its first word takes a login shell
	far_missed=0
	trap 'far_silent=0' USR1
	trap 'far_missed=0' USR2
	while sleep 1 >/dev/null 2>&1; do
		far_silent=$((far_silent + 1))
		far_missed=$((far_missed + 1))
		far_mark beat || break
		far_keep
		kill -CONT "$far_self" 2>/dev/null || break # its worker may have stopped it
		[ "$far_missed" -le 3 ] || break
		[ "$far_silence" -eq 0 ] || [ "$far_silent" -le "$far_silence" ] || break
	done
	far_kill
	kill -CONT "$far_self" 2>/dev/null
}

# Continues who starts the worker, which may stop it before it has a timer.
far_wake()
{
	while sleep 1 >/dev/null 2>&1; do
		kill -CONT "$far_self" 2>/dev/null || break
	done
}

# Sees to it that the timer lives.
far_second()
{
	while sleep 1 >/dev/null 2>&1; do
		kill -0 "$far_self" 2>/dev/null || break
		kill -USR2 "$far_timer" 2>/dev/null || break
	done
	far_kill
}

# Takes the first line, which says who is who.
far_begin()
{
	trap '' PIPE HUP
	IFS=' ' read -r far_nonce far_id far_silence || exit 0
	# Without one all workers would bear the mark.
	[ -n "$far_id" ] || exit 0
}

# Takes the header and the line behind it. What a shell reads of a pipe ends with its line.
far_take()
{
	read -r far_l || exit 0
	far_m=
	while IFS= read -r far_l && [ "$far_l" != "$far_nonce" ]; do
		far_m=$far_m$far_l$far_n
	done
	[ "$far_l" = "$far_nonce" ] || exit 0
	IFS= read -r far_l && [ "$far_l" = go ] || exit 0
}

# Runs the worker in the background as far_pid; 4 is its stdin and 3 its stdout. To env a name with a = is no
# program; whoever has a group by job control has no signal to get back.
far_start()
{
	[ -n "$far_alone" ] || set -m 2>/dev/null # a group of its own at least
	(
		far_enter
		trap - PIPE HUP
		[ -z "$far_alone" ] || set -- "$far_alone" -- "$@"
		case $1 in
		*=*) ;;
		*) [ -z "$far_default" ] || set -- "$far_default" --default-signal=INT,QUIT,PIPE -- "$@" ;;
		esac
		far_dress
		exec "$@"
	) <&4 >&3 3>&- 4>&- &
	far_pid=$!
	set +m
	far_mark started "$far_pid"
}

far_serve()
{
	far_tool=$(command -v perl) && "$far_tool" -e 'exit 0' >/dev/null 2>&1 </dev/null &&
		exec "$far_tool" -e "$far_perl" -- "$far_lc" "$far_rooms"
	far_begin
	far_mode=plain
	far_self=$$
	far_pid=
	far_alone=$(command -v setsid) || far_alone=
	far_default=
	if env --default-signal=INT,QUIT,PIPE true >/dev/null 2>&1 </dev/null; then
		far_default=$(command -v env)
	fi
	printf '\036MER-%s up\n' "$far_nonce"
	far_mark up
	far_take
	eval "$far_m"
	if [ -n "$far_room" ]; then
		far_why=$(MER_FAR=$far_id /bin/sh -c "$far_rooms$far_n$far_room") || far_why=${far_why:-room}
		if [ -n "$far_why" ]; then
			far_clear
			far_fail "$far_why"
		fi
	fi
	(far_try "$1") || {
		far_clear
		exit 0
	}
	if [ -n "$far_probe" ]; then
		far_clear
		far_mark there
		exit 0
	fi
	exec 3>&1 4<&0 </dev/null >/dev/null
	far_wake 3>&- 4<&- 2>/dev/null &
	far_early=$!
	far_start "$@"
	exec 3>&- 4<&-
	far_tick &
	far_timer=$!
	far_second &
	far_other=$!
	{ kill -KILL "$far_early" && wait "$far_early"; } 2>/dev/null
	far_mark watch "$far_pid" "$far_timer" "$far_mode"
	{ wait "$far_pid"; } 2>/dev/null
	far_code=$?
	kill -KILL "-$far_pid" 2>/dev/null
	if [ "$far_code" -gt 128 ]; then
		far_mark signal "$((far_code - 128))"
	else
		far_mark exit "$far_code"
	fi
	far_pid=
	far_sweep
	far_clear
	far_mark gone
	kill -KILL "$far_timer" "$far_other" 2>/dev/null
	exit 0
}

far_watch()
{
	far_begin
	far_pid=
	[ -z "$4" ] || [ -n "$(far_marked)" ] || exit 0
	far_pid=$1
	far_timer=$2
	far_mode=$3
	far_is_pid "$far_pid" || exit 0
	far_is_pid "$far_timer" || exit 0
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
