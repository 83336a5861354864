# shellcheck shell=sh
# What mer runs on another host, as a worker of its own, to bring files there and back (docs/ssh.md, src/meal/lend.c):
#
#   look KEY...                    what is there of them: a line each, "ok", "changed", or "parts START:BYTES..."
#   put KEY KIND SIZE START BYTES  takes stdin behind the BYTES that are there of the part that begins at START: "ok"
#                                  when all SIZE bytes are there and are what they should be, "more", "again" when it
#                                  has another length by now, "changed" when the whole was not what it should be
#   sum PATH                       "file BYTES SHA256" or "folder BYTES SHA256" of what is at a path, or "none"
#   check KEY PATH                 "ok" where that is KEY, which is remembered, "changed" or "none"
#   made ID                        what a training left: "file SIZE SHA256", "folder SIZE SHA256" of a tar, or "none"
#   give ID START                  its bytes from there on
#   drop ID                        forgets it
#
# A KEY is the SHA-256 of a file, or of a folder as docs/weights.md has it. It is in files/KEY of mer's cache, under
# that name once it was checked, and files/KEY.ok says since when: far.sh looks whether anything is newer. What
# is on its way is in files/KEY.part, a file a part.

lend_die()
{
	printf '%s\n' "$*" >&2
	exit 1
}

umask 077
LC_ALL=C
export LC_ALL
case ${XDG_CACHE_HOME-} in
/*) lend_root=$XDG_CACHE_HOME/mer ;;
*) lend_root=${HOME:?there is no home}/.cache/mer ;;
esac
lend_files=$lend_root/files

# The SHA-256 of stdin.
lend_sum()
{
	if command -v sha256sum >/dev/null 2>&1; then
		set -- "$(sha256sum)"
	elif command -v shasum >/dev/null 2>&1; then
		set -- "$(shasum -a 256)"
	elif command -v openssl >/dev/null 2>&1; then
		set -- "$(openssl dgst -sha256 -r)"
	elif command -v python3 >/dev/null 2>&1; then
		set -- "$(python3 -c 'import hashlib, sys
h = hashlib.sha256()
for b in iter(lambda: sys.stdin.buffer.read(1 << 20), b""): h.update(b)
print(h.hexdigest())')"
	elif command -v perl >/dev/null 2>&1; then
		set -- "$(perl -MDigest::SHA -e 'binmode STDIN; print Digest::SHA->new(256)->addfile(*STDIN)->hexdigest')"
	else
		lend_die "no program there tells a SHA-256: none of sha256sum, shasum, openssl, python3, perl"
	fi
	set -- "${1%% *}"
	[ "${#1}" -eq 64 ] || lend_die "cannot tell the SHA-256 there"
	printf '%s\n' "$1"
}

# Of a file or a folder. openssl has what processors have for it, where sha256sum may not, but takes longer to start.
lend_sum_of()
{
	if [ ! -d "$1" ]; then
		lend_n=$(lend_bytes "$1") || exit 1
		lend_one=
		[ "$lend_n" -lt 1000000 ] || lend_one=$(openssl dgst -sha256 -r <"$1" 2>/dev/null)
		lend_one=${lend_one%% *}
		if [ "${#lend_one}" -eq 64 ]; then
			echo "$lend_one"
		else
			lend_sum <"$1"
		fi
		return
	fi
	[ -z "$(find -L "$1" -name '*
*' -print)" ] || lend_die "a name in it has a newline"
	(
		cd "$1" || exit 1
		# All at once, but for names that it would escape.
		if command -v sha256sum >/dev/null 2>&1 && [ -z "$(find -L . -name "*[\\\\$(printf '\r')]*" -print)" ]; then
			find -L . -type f -exec sha256sum {} + | sed 's,^\(.\{64\}  \)\./,\1,'
			exit
		fi
		find -L . -type f | while IFS= read -r lend_name; do
			lend_one=$(lend_sum <"$lend_name") || exit 1
			printf '%s  %s\n' "$lend_one" "${lend_name#./}"
		done
	) | sort | lend_sum
}

# The bytes of a file, or of all files in a folder.
lend_bytes()
{
	if [ -d "$1" ]; then
		find -L "$1" -type f -exec wc -c {} \; | while read -r lend_n lend_name; do
			echo "$lend_n"
		done | {
			lend_all=0
			while read -r lend_n; do
				lend_all=$((lend_all + lend_n))
			done
			echo "$lend_all"
		}
	else
		lend_n=$(wc -c <"$1") || exit 1
		echo "$((lend_n))"
	fi
}

# A record says by its time since when something is known to be as it was, and how to ask find for what is newer.
lend_record()
{
	lend_how=-newer
	find "$lend_root" -prune -cnewer "$lend_root" >/dev/null 2>&1 && lend_how=-cnewer
	printf '%s\n' "$lend_how" >"$1.$$" || lend_die "cannot write in '$lend_root'"
	mv -f "$1.$$" "$1" || lend_die "cannot write in '$lend_root'"
}

lend_remove()
{
	chmod -R u+rwX "$@" 2>/dev/null
	rm -rf "$@"
}

# lend_left LOCK FOLDER: whether who has it has gone, or has written nothing in FOLDER for ten minutes.
lend_left()
{
	lend_by=$(readlink "$1") || return 1
	case $lend_by in
	"$(uname -n)":*)
		if ! kill -0 "${lend_by##*:}" 2>/dev/null; then
			[ "$(readlink "$1")" = "$lend_by" ] # it was not given back, by who has gone since
			return
		fi
		;;
	esac
	lend_new=$(find "$2" -mmin -10 2>/dev/null) && [ -z "$lend_new" ]
}

# lend_try FILE: one at a time.
lend_try()
{
	ln -s "$(uname -n):$$" "$1" 2>/dev/null
}

# lend_lock FILE FOLDER: waits for that. It is taken from who has left it by one at a time, too, since it may be
# another's as soon as that was seen.
lend_lock()
{
	lend_break=$lend_root/break.lock
	until lend_try "$1"; do
		if [ ! -h "$1" ]; then
			[ -d "${1%/*}" ] || mkdir -p "${1%/*}" || lend_die "cannot write in '$lend_root'"
			ln -s x "$1.try" 2>/dev/null || [ -h "$1" ] || lend_die "cannot write in '$lend_root'"
			rm -f "$1.try"
		elif ! lend_left "$1" "$2"; then
			sleep 1
		elif ln -s x "$lend_break" 2>/dev/null; then
			! lend_left "$1" "$2" || rm -f "$1"
			rm -f "$lend_break"
		elif [ -n "$(find "$lend_break" -mmin +1 2>/dev/null)" ]; then
			rm -f "$lend_break"
		fi
	done
}

# The parts that there are of a key, as "START:BYTES START:BYTES..." in lend_list.
lend_parts()
{
	lend_list=
	while read -r lend_n lend_at; do
		case $lend_at in
		[0-9]*)
			lend_at=${lend_at#"${lend_at%%[!0]*}"}
			lend_list="$lend_list ${lend_at:-0}:$lend_n"
			;;
		esac
	done <<-EOF
		$(cd "$lend_files/$1.part" 2>/dev/null && wc -c [0-9]*[0-9] 2>/dev/null)
	EOF
}

# Whether nothing of what has that key is newer than its record.
lend_same()
{
	lend_how=
	[ -f "$lend_files/$1.ok" ] && read -r lend_how <"$lend_files/$1.ok"
	case $lend_how in
	-newer | -cnewer) [ -z "$(find "$lend_files/$1" "$lend_how" "$lend_files/$1.ok" 2>&1)" ] ;;
	*) false ;;
	esac
}

# The cache is the user's alone, and has nothing that nobody asks for any more: who works there keeps it young (far.sh).
lend_tidy()
{
	chmod 700 "$lend_root" "$lend_files" || lend_die "cannot make '$lend_files'"
	for lend_old in "$lend_root/new"/* "$lend_root/made"/*; do
		[ ! -e "$lend_old" ] || [ -z "$(find "$lend_old" -prune -mtime +30 2>/dev/null)" ] || lend_remove "$lend_old"
	done
}

lend_look()
{
	[ -n "$(lend_sum </dev/null)" ] || exit 1
	mkdir -p "$lend_files" || lend_die "cannot make '$lend_files'"
	lend_tidy
	for lend_key in "$@"; do
		if [ ! -e "$lend_files/$lend_key" ]; then
			lend_parts "$lend_key"
			echo "parts$lend_list"
		elif lend_same "$lend_key"; then
			echo ok
		elif [ "$(lend_sum_of "$lend_files/$lend_key")" = "$lend_key" ]; then
			lend_record "$lend_files/$lend_key.ok"
			echo ok
		else
			lend_remove "$lend_files/$lend_key.ok" "$lend_files/$lend_key"
			echo changed
		fi
	done
}

# How many bytes are there from the first on, and with KEY and a file: makes it one.
lend_join()
{
	lend_pos=0
	lend_parts "$1"
	for lend_one in $lend_list; do
		lend_from=${lend_one%:*}
		lend_to=$((lend_from + ${lend_one#*:}))
		[ "$lend_from" -le "$lend_pos" ] || break
		if [ -n "$2" ] && [ "$lend_from" -gt 0 ]; then
			lend_part=$lend_files/$1.part/$(printf '%015d' "$lend_from")
			if [ "$lend_from" -eq "$lend_pos" ]; then
				cat "$lend_part" >>"$2" || lend_die "cannot write in '$lend_root'"
			elif [ "$lend_to" -gt "$lend_pos" ]; then
				tail -c "+$((lend_pos - lend_from + 1))" "$lend_part" >>"$2" || lend_die "cannot write in '$lend_root'"
			fi
			rm -f "$lend_part"
		fi
		[ "$lend_to" -le "$lend_pos" ] || lend_pos=$lend_to
	done
}

# lend_seal KEY KIND: all is there: it is checked, and gets its name. Under seal.lock.
lend_seal()
{
	lend_first=$lend_dir/000000000000000
	if [ ! -e "$lend_files/$1" ]; then
		lend_join "$1" "$lend_first"
		lend_whole=$lend_first
		if [ "$2" = folder ]; then
			lend_whole=$lend_dir/tree
			lend_remove "$lend_whole"
			mkdir "$lend_whole" || lend_die "cannot write in '$lend_root'"
			command -v tar >/dev/null 2>&1 || lend_die "there is no tar, which folders need"
			(cd "$lend_whole" && tar -xof -) <"$lend_first" || lend_die "cannot unpack in '$lend_root'"
		fi
		if [ "$(lend_sum_of "$lend_whole")" != "$1" ]; then
			lend_remove "$lend_dir"
			echo changed
			return
		fi
		mv "$lend_whole" "$lend_files/$1" || lend_die "cannot write in '$lend_root'"
		chmod -R a-w "$lend_files/$1"
		lend_tidy
	fi
	lend_record "$lend_files/$1.ok"
	lend_remove "$lend_dir"
	echo ok
}

lend_put()
{
	lend_dir=$lend_files/$1.part
	mkdir -p "$lend_dir" || lend_die "cannot write in '$lend_root'"
	lend_part=$lend_dir/$(printf '%015d' "$4")
	lend_lock "$lend_part.lock" "$lend_dir"
	[ -d "$lend_dir" ] || mkdir -p "$lend_dir" || lend_die "cannot write in '$lend_root'"
	lend_was=0
	[ ! -e "$lend_part" ] || lend_was=$(lend_bytes "$lend_part" 2>/dev/null) || lend_was=0 # sealed just then
	if [ -e "$lend_files/$1" ] || [ "$lend_was" -ne "$5" ]; then
		rm -f "$lend_part.lock"
		echo again
		return
	fi
	cat >>"$lend_part" || lend_die "cannot write in '$lend_root'"
	rm -f "$lend_part.lock"
	lend_join "$1" ""
	if [ "$lend_pos" -ne "$3" ]; then
		echo more
	elif lend_try "$lend_dir/seal.lock"; then
		lend_seal "$1" "$2"
	elif [ "$(lend_bytes "$lend_part" 2>/dev/null)" != "$5" ]; then
		echo more # another one sees the same, and seals it; who has brought nothing waits for that
	else
		lend_lock "$lend_dir/seal.lock" "$lend_dir"
		lend_seal "$1" "$2"
	fi
}

# lend_tell PATH: its kind, bytes and SHA-256.
lend_tell()
{
	if [ ! -e "$1" ]; then
		echo none
		return
	fi
	lend_kind='file'
	[ ! -d "$1" ] || lend_kind=folder
	lend_n=$(lend_bytes "$1") && lend_one=$(lend_sum_of "$1") || exit 1
	echo "$lend_kind $lend_n $lend_one"
}

lend_check()
{
	if [ ! -e "$2" ]; then
		echo none
		return
	fi
	if [ "$(lend_sum_of "$2")" != "$1" ]; then
		echo changed
		return
	fi
	mkdir -p "$lend_root/there" || lend_die "cannot write in '$lend_root'"
	lend_record "$lend_root/there/$1"
	printf '%s\n' "$2" >"$lend_root/there/$1.path"
	echo ok
}

# What a training left is the one thing in its folder; of a folder a tar is made beside it.
lend_made()
{
	lend_dir=$lend_root/made/$1
	for lend_one in "$lend_dir"/* "$lend_dir"/.[!.]*; do
		[ -e "$lend_one" ] || continue
		lend_kind='file'
		if [ -d "$lend_one" ]; then
			lend_kind=folder
			command -v tar >/dev/null 2>&1 || lend_die "there is no tar, which folders need"
			(cd "$lend_one" && tar -chf "$lend_dir.bytes" .) || lend_die "cannot pack in '$lend_root'"
		else
			{ mv "$lend_one" "$lend_dir.bytes" && touch "$lend_dir.bytes"; } || lend_die "cannot write in '$lend_root'"
		fi
		lend_n=$(lend_bytes "$lend_dir.bytes") && lend_one=$(lend_sum_of "$lend_dir.bytes") || exit 1
		echo "$lend_kind $lend_n $lend_one"
		return
	done
	echo none
}

lend_op=$1
shift
case $lend_op in
look) lend_look "$@" ;;
put) lend_put "$@" ;;
sum) lend_tell "$1" ;;
check) lend_check "$@" ;;
made) lend_made "$1" ;;
give) exec tail -c "+$(($2 + 1))" "$lend_root/made/$1.bytes" ;;
drop) lend_remove "$lend_root/made/$1" "$lend_root/made/$1.bytes" ;;
*) lend_die "no such order: $lend_op" ;;
esac
