# What demo/run, test/run and their kin share: packages, a sandbox, the build
# and a throw-away cluster.  Sourced by bash scripts.
#
# Everything happens in a copy of the tree in a temporary folder, as an
# ordinary user: root drops to "nobody".  The extension is installed into that
# folder too; the machine's PostgreSQL and its clusters are not touched.

set -euo pipefail

self=$(readlink -f "$0")
top=$(readlink -f "$(dirname "${BASH_SOURCE[0]}")/..")

say() { printf '== %s\n' "$*"; }
die() { printf '%s: %s\n' "${self#"$top"/}" "$*" >&2; exit 1; }

# on_exit COMMAND: runs it when the script ends, what was named last first.
# Whether it succeeds does not change how the script ends.
exit_commands=()
on_exit() {
	exit_commands=("$1" "${exit_commands[@]}")
	trap 'at_exit $?' EXIT
}
at_exit() {
	local command
	set +e
	for command in "${exit_commands[@]}"; do eval "$command"; done
	exit "$1"
}

# need_packages NAME...: root installs what is missing, anybody else is told.
need_packages() {
	local name missing=()
	for name in "$@"; do
		[ "$(dpkg-query -W -f '${db:Status-Status}' "$name" 2>/dev/null)" = installed ] || missing+=("$name")
	done
	[ ${#missing[@]} -gt 0 ] || return 0
	[ "$(id -u)" = 0 ] || die "please install first: sudo apt-get install ${missing[*]}"
	say "installing ${missing[*]}"
	apt-get -qq update
	DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "${missing[@]}" >/dev/null </dev/null
}

# The major version to work with: $PG_MAJOR, or what the distribution ships.
pg_major() {
	local major=${PG_MAJOR:-}
	if [ -z "$major" ]; then
		[ "$(id -u)" != 0 ] || apt-cache show postgresql >/dev/null 2>&1 || apt-get -qq update >&2
		major=$(apt-cache depends postgresql 2>/dev/null | sed -n 's/.*Depends: postgresql-\([0-9]*\)$/\1/p' | head -n 1)
	fi
	# an ordinary user on a machine that has no package lists yet
	[ -n "$major" ] || case $(. /etc/os-release && echo "${VERSION_CODENAME:-}") in
		bookworm) major=15 ;;
		trixie) major=17 ;;
	esac
	[ -n "$major" ] || die "which PostgreSQL? Set PG_MAJOR, as in PG_MAJOR=15"
	echo "$major"
}

# fetch_source NAME...: the source of these Debian packages, to $work/source,
# from where the machine gets its packages
fetch_source() {
	local file name version
	local apt=(-qq -o APT::Sandbox::User=root -o "Dir::Etc::SourceList=$work/source/list" -o "Dir::Etc::SourceParts=$work/source/list.d"
		-o "Dir::State::Lists=$work/source/lists" -o "Dir::Cache=$work/source/cache")
	say "fetching the source of $*"
	mkdir -p "$work"/source/{lists,cache,list.d}
	for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
		[ ! -f "$file" ] || sed -n 's/^deb /deb-src /p' "$file"
	done >"$work/source/list"
	for file in /etc/apt/sources.list.d/*.sources; do
		[ ! -f "$file" ] || sed -E 's/^Types:.*/Types: deb-src/I' "$file" >"$work/source/list.d/${file##*/}"
	done
	[ -s "$work/source/list" ] || [ -n "$(ls "$work/source/list.d")" ] ||
		die "cannot fetch the source of $*: /etc/apt/sources.list and /etc/apt/sources.list.d name no archive"
	apt-get "${apt[@]}" update >"$work/source/log" 2>&1 || true
	for name in "$@"; do
		# a mirror may tell of the newest version before it has it
		for version in $(apt-cache "${apt[@]}" madison "$name" | awk -F ' *[|] *' '/ Sources$/ { print $2 }' | sort -Vru); do
			(cd "$work/source" && apt-get "${apt[@]}" source "$name=$version") >>"$work/source/log" 2>&1 && continue 2
		done
		cat "$work/source/log" >&2
		die "cannot fetch the source of $name"
	done
}

# build_asserted FOLDER: PostgreSQL from the source there, to
# $work/asserting.tgz
build_asserted() {
	local part make
	# what makes it one that can be moved, libraries and all
	# shellcheck disable=SC2016
	make=(make -s 'rpathdir=$$ORIGIN/../lib:$$ORIGIN/../../../..' "DESTDIR=$work/asserting/dest")
	# int8, timestamptz and float8 by reference, as on machines of 32 bits
	sed -i '/^#define USE_FLOAT8_BYVAL 1/d' "$1/src/include/pg_config_manual.h"
	mkdir "$work/asserting"
	[ "$(id -u)" != 0 ] || chown -R nobody:nogroup "$work"
	(
		cd "$work/asserting"
		"${ordinary[@]}" "$1/configure" -q --prefix=/opt/pgsql --enable-cassert --enable-debug --enable-tap-tests --with-libxml \
			--with-icu --without-readline --without-zlib CFLAGS="-O1 -g -DRELCACHE_FORCE_RELEASE" || exit
		for part in . contrib/amcheck contrib/file_fdw contrib/spi; do
			"${ordinary[@]}" "${make[@]}" -C "$part" -j "$(nproc)" all && "${ordinary[@]}" "${make[@]}" -C "$part" install || exit
		done
		tar -C dest/opt/pgsql -czf "$work/asserting.tgz" .
	) >"$work/asserting.log" 2>&1 || { tail -n 50 "$work/asserting.log" >&2; die "PostgreSQL with assertions could not be built"; }
}

# get_asserted: Debian's PostgreSQL, built with assertions, to $work/asserted.
# It is kept in .cache until somebody removes it there: by its version, by that
# of the server that the machine has, if the archive had another, and by how it
# was built.
get_asserted() {
	local source how version kept
	# kept_as VERSION: the name of what is built of it
	kept_as() { echo "$top/.cache/asserted-$1-$how.tgz"; }
	how=$(. /etc/os-release && echo "$VERSION_CODENAME")-$(dpkg --print-architecture)-$(declare -f build_asserted | md5sum | cut -c 1-8)
	kept=$(kept_as "$(dpkg-query -W -f '${Version}' "postgresql-$PG_MAJOR")")
	if [ ! -e "$kept" ]; then
		[ -d "$work/source" ] || fetch_source "postgresql-$PG_MAJOR"
		source=$(find "$work/source" -maxdepth 1 -type d -name "postgresql-$PG_MAJOR-*")
		version=$(dpkg-parsechangelog -l "$source/debian/changelog" -S Version)
		if [ ! -e "$(kept_as "$version")" ]; then
			say "building PostgreSQL $version with assertions"
			build_asserted "$source"
			{ mkdir -p "$top/.cache" && cp "$work/asserting.tgz" "$kept.$$" && mv "$kept.$$" "$(kept_as "$version")"; } 2>/dev/null || {
				say "it is not kept: $top/.cache cannot be written"
				rm -f "$kept.$$"
				kept=$work/asserting.tgz
			}
		fi
		[ -e "$kept" ] || ln -sf "$(basename "$(kept_as "$version")")" "$kept" 2>/dev/null || kept=$(kept_as "$version")
	fi
	say "PostgreSQL with assertions from $(readlink -f "$kept")"
	mkdir "$work/asserted"
	tar -C "$work/asserted" --no-same-owner -xzf "$kept"
}

# sandbox PACKAGE... -- ARGUMENT...: first call: installs what building needs
# and the packages named, copies the tree, and runs this script again in the
# copy with the arguments; never returns.  Second call: returns, with $work a
# writable folder.  The folder is removed at the end, unless $work/keep exists.
# Debian packages named in the array "unpack" are only unpacked, to
# $work/unpacked: installing them would start their servers.  The source of
# those in the array "sources" goes to $work/source.  If "asserted" is not
# empty, $pg_config and $bindir are those of a PostgreSQL with assertions,
# $work/asserted.
sandbox() {
	local packages=() ordinary=() rc=0
	while [ "$1" != -- ]; do packages+=("$1"); shift; done
	shift
	if [ -n "${SIDECAR_WORK:-}" ]; then
		work=$SIDECAR_WORK
		pg_config=/usr/lib/postgresql/$PG_MAJOR/bin/pg_config
		[ -z "${asserted:-}" ] || pg_config=$work/asserted/bin/pg_config
		bindir=$("$pg_config" --bindir)
		return
	fi

	PG_MAJOR=$(pg_major)
	[ "$(id -u)" != 0 ] || ordinary=(setpriv --reuid=nobody --regid=nogroup --clear-groups)
	[ -z "${asserted:-}" ] || packages+=(bison dpkg-dev flex libicu-dev libipc-run-perl libxml2-dev perl pkgconf)
	need_packages gcc make "postgresql-$PG_MAJOR" "postgresql-server-dev-$PG_MAJOR" "${packages[@]//PG_MAJOR/$PG_MAJOR}"
	work=$(mktemp -d "${TMPDIR:-/tmp}/sidecar.XXXXXX")
	chmod 755 "$work"
	on_exit '[ -e "$work/keep" ] || rm -rf "$work"'
	trap 'exit 130' INT
	trap 'exit 143' TERM
	if [ -n "${unpack:-}" ]; then
		say "fetching ${unpack[*]}"
		mkdir "$work/packages"
		(cd "$work/packages" && apt-get -qq -o APT::Sandbox::User=root download "${unpack[@]}") ||
			{ [ "$(id -u)" = 0 ] && apt-get -qq update && cd "$work/packages" &&
				apt-get -qq -o APT::Sandbox::User=root download "${unpack[@]}"; } || die "cannot fetch ${unpack[*]}"
		for deb in "$work"/packages/*.deb; do dpkg -x "$deb" "$work/unpacked"; done
	fi
	[ -z "${sources:-}" ] || fetch_source "${sources[@]//PG_MAJOR/$PG_MAJOR}"
	[ -z "${asserted:-}" ] || get_asserted
	mkdir "$work/tree"
	tar -C "$top" --exclude=./.git --exclude=./.cache -cf - . | tar -C "$work/tree" --no-same-owner -xf -

	local run=("${ordinary[@]}" env "HOME=$work" "SIDECAR_WORK=$work" "PG_MAJOR=$PG_MAJOR" LC_ALL=C.UTF-8
		bash "$work/tree/${self#"$top"/}" "$@")
	[ "$(id -u)" != 0 ] || chown -R nobody:nogroup "$work"
	cd "$work"
	"${run[@]}" </dev/null || rc=$?
	exit $rc
}

# our_files: the names of our C files, as a regular expression's alternatives
our_files() { basename -s .c "$top"/src/*.c | paste -sd '|'; }

# build [VARIABLE=VALUE...]: compiles without a warning, installs into $work.
build() {
	say "building for PostgreSQL $PG_MAJOR"
	make -s -C "$top" PG_CONFIG="$pg_config" clean >"$work/build.log" 2>&1
	make -s -C "$top" PG_CONFIG="$pg_config" COPT=-Werror "$@" >>"$work/build.log" 2>&1 &&
		make -s -C "$top" PG_CONFIG="$pg_config" DESTDIR="$work/dest" install >>"$work/build.log" 2>&1 ||
		{ cat "$work/build.log" >&2; die "the build failed"; }
}

# Settings that let a server find the extension in $work: Debian's own, or,
# from 18 on, PostgreSQL's.
server_settings() {
	if [ "$PG_MAJOR" -ge 18 ]; then
		printf "extension_control_path = '%s:\$system'\n" "$work/dest$("$pg_config" --sharedir)"
		printf "dynamic_library_path = '%s:\$libdir'\n" "$work/dest$("$pg_config" --pkglibdir)"
	else
		printf "extension_destdir = '%s'\n" "$work/dest"
	fi
}

# start_cluster [SETTING...]: a private server on a socket in $work; stopped
# when the script ends, unless $work/keep exists then.
start_cluster() {
	say "starting a private PostgreSQL $PG_MAJOR"
	"$bindir/initdb" -D "$work/data" -U postgres -A trust -E UTF8 --no-locale --no-sync >"$work/initdb.log"
	{
		server_settings
		printf "%s\n" "listen_addresses = ''" "unix_socket_directories = '$work'" "fsync = off" \
			"timezone = 'UTC'" "$@"
	} >>"$work/data/postgresql.conf"
	on_exit '[ -e "$work/keep" ] || "$bindir/pg_ctl" -D "$work/data" -m immediate stop >/dev/null 2>&1'
	"$bindir/pg_ctl" -D "$work/data" -l "$work/server.log" -w start >/dev/null ||
		{ cat "$work/server.log" >&2; die "the server did not start"; }
	export PGHOST=$work PGUSER=postgres PGDATABASE=postgres
	unset PGPORT PGSERVICE
}
