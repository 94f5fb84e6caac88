# Small Debians below .cache, made by debootstrap and entered by chroot, for
# what a machine of another release has to show.  Sourced by bash scripts that
# run as root.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
[ "$(id -u)" = 0 ] || die "needs root, to make a Debian with debootstrap"
mirror=http://deb.debian.org/debian
cache=$top/.cache

# inside NAME COMMAND...: runs in that Debian, which has a /proc meanwhile
inside() {
	local root=$cache/$1
	shift
	unshare --mount --propagation private sh -c 'mount -t proc proc "$0/proc" && exec chroot "$0" "$@"' \
		"$root" /usr/bin/env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
		HOME=/root LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive "$@" </dev/null
}

# make_debian SUITE [NAME]: makes that Debian if there is none
make_debian() {
	local root=$cache/${2:-$1}
	if [ ! -e "$root/.ready" ]; then
		need_packages debootstrap || return
		rm -rf "$root"
		mkdir -p "$cache"
		debootstrap --variant=minbase "$1" "$root" "$mirror" || return
		# packages must not start servers there
		printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d" && chmod +x "$root/usr/sbin/policy-rc.d" || return
		# nor wait for the disk: what is half there is made anew
		echo force-unsafe-io >"$root/etc/dpkg/dpkg.cfg.d/unsafe-io"
		touch "$root/.ready"
	fi
	# a mirror that lags behind will do
	echo 'Acquire::Check-Valid-Until "false";' >"$root/etc/apt/apt.conf.d/99lagging"
	inside "${2:-$1}" apt-get -qq update
}

# add_packages NAME PACKAGE...: into that Debian
add_packages() {
	local name=$1
	shift
	inside "$name" apt-get -qq install -y --no-install-recommends "$@" >/dev/null
}

# copy_tree NAME FOLDER: the sources, into that Debian's folder
copy_tree() {
	rm -rf "${cache:?}/$1/$2"
	mkdir -p "$cache/$1/$2"
	tar -C "$top" --exclude=./.git --exclude=./.cache -cf - . | tar -C "$cache/$1/$2" --no-same-owner -xf -
}
