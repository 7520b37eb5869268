#!/bin/bash
# Kernel IPVS and sheave in one guest, in instructions a packet: QEMU without KVM, one processor whose clock counts
# instructions. Once over veth in copy mode, with Debian's kernel; once over virtio devices with zero-copy, with a newer one
# (from backports: only unpacked, never installed). See docs/performance.md.
#
#   perf/vm/run.sh TARGET_DIRECTORY [veth|nic ...]
set -eu -o pipefail
here=$(cd "$(dirname "$0")" && pwd)
target=$(realpath "${1:-target}")
shift || true
[ $# -gt 0 ] || set -- veth nic
work=$target/perf/vm
mkdir -p "$work"
fail() { echo "error: perf-vm: $*" >&2; exit 1; }

# apt that knows the backports, beside the system's.
backports() {
	local apt=$work/apt mirror
	mirror=$(apt-get indextargets --format '$(SITE)' | grep -v security | sort -u | head -1)
	mkdir -p "$apt"/{lists/partial,cache/archives/partial}
	printf 'deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] %s %s main\n' \
		"$mirror" trixie "$mirror" trixie-backports > "$apt/sources.list"
	printf 'Dir::Etc::sourcelist "%s";\nDir::Etc::sourceparts "/dev/null";\nDir::State "%s";\nDir::State::lists "%s";\nDir::Cache "%s";\n' \
		"$apt/sources.list" "$apt" "$apt/lists" "$apt/cache" > "$apt/apt.conf"
	touch "$apt/status"
	export APT_CONFIG=$apt/apt.conf
	apt-get update -qq
}

# The packages that a kernel is made of: the one of that name, and those of its version that it needs.
parts() {
	echo "$1"
	apt-cache depends "$1" | awk '/Depends: linux-/{print $2}' | grep -F -- "-${1#linux-image-}" || true
}

# The newest kernel of a suite, unpacked.
kernel() {
	local at=$work/kernel-$1 package
	if [ ! -f "$at/done" ]; then
		[ "$1" = veth ] || backports
		package=$(apt-cache show linux-image-cloud-amd64 | grep -o 'linux-image-[0-9][^ ,(]*' | sort -V | tail -1)
		[ -n "$package" ] || fail "linux-image-cloud-amd64: not known to apt: apt-get update"
		rm -rf "$at" && mkdir -p "$at"
		(cd "$at" && parts "$package" | xargs apt-get download -qq 2>/dev/null && for d in ./*.deb; do dpkg -x "$d" .; done && rm ./*.deb)
		[ -d "$at/lib" ] || ln -s usr/lib "$at/lib"
		find "$at/usr" -name '*.ko.xz' -exec xz -d {} + 2>/dev/null || true
		depmod -b "$at" "$(ls "$at/lib/modules")"
		touch "$at/done"
	fi
	echo "$at"
}

# A program and the libraries that it needs.
program() {
	local file
	file=$(command -v "$1") || fail "$1: not found: install it"
	install -D "$file" "$root/bin/$(basename "$1")"
	ldd "$file" 2>/dev/null | grep -o '/[^ ]*' | while read -r library; do
		[ -f "$root$library" ] || install -D "$library" "$root$library"
	done || true
}


# The file system of the guest, for a bench.
guest() { # bench, kernel, its version
	local modules=$root/lib/modules/$3
	rm -rf "$root" && mkdir -p "$root"/{bin,sbin,proc,sys,dev,tmp,run,etc} "$modules"
	program busybox
	for applet in sh seq sed mount mkdir cat sleep echo printf tail grep kill modprobe poweroff; do ln -sf busybox "$root/bin/$applet"; done
	program ip
	PATH=$PATH:/sbin:/usr/sbin program ipvsadm
	program "$target/release/sheaved"
	program "$target/release/sheave-pktgen"
	cc -O1 -static -o "$root/bin/drive" "$here/drive.c"
	install -m 755 "$here/init" "$root/init"
	install -m 755 "$here/../pktgen/kernel/send.sh" "$root/bin/send.sh"
	for module in veth virtio_pci virtio_net pktgen ip_vs_rr ipip tun sch_ingress cls_bpf; do
		modprobe -d "$2" -S "$3" --show-depends "$module" | awk '/^insmod/{print $2}'
	done | sort -u | while read -r file; do
		install -D "$file" "$modules/${file#*/lib/modules/"$3"/}"
	done
	cp "$2/lib/modules/$3"/modules.{order,builtin,builtin.modinfo} "$modules"
	depmod -b "$root" "$3"
	(cd "$root" && find . | cpio -o -H newc --quiet | gzip -1) > "$work/initramfs-$1.gz"
}

# Two cables: an emulated hub each. What is sent goes out by a timer of the guest's clock, so that every run is the same.
# Nothing is offloaded: AF_XDP wants it so, and what is compared with it gets the same.
cables() {
	local device="virtio-net-pci,iommu_platform=on,disable-legacy=on,romfile=,rx_queue_size=1024,tx=timer,x-txtimer=500000,ioeventfd=off,guest_csum=off,guest_tso4=off,guest_tso6=off,guest_ecn=off,guest_ufo=off,csum=off,gso=off"
	local n=0 mac
	for mac in 00:e0 00:d0 00:d1 01:0a; do
		echo -netdev "hubport,id=n$n,hubid=$((n / 2))" -device "$device,netdev=n$n,mac=02:00:00:00:$mac"
		n=$((n + 1))
	done
}

run() { # bench
	local k version image log=$work/log-$1
	k=$(kernel "$1")
	version=$(ls "$k/lib/modules")
	image=$(find "$k" -name 'vmlinuz*' | head -1)
	root=$work/root
	guest "$1" "$k" "$version"
	# Without ERMS, which makes the kernel clear and copy memory by one instruction for any length: the emulator counts it as one for
	# each byte, 4096 for a page.
	# shellcheck disable=SC2046
	timeout 3600 qemu-system-x86_64 -accel tcg -cpu max,-erms -m 1024 -smp 1 -icount shift=0,sleep=off -nographic -no-reboot -nodefaults \
		$([ "$1" = veth ] || cables) -serial stdio -kernel "$image" -initrd "$work/initramfs-$1.gz" \
		-append "console=ttyS0 panic=-1 quiet mitigations=off tsc=reliable bench=$1" < /dev/null | tee "$log" | grep --line-buffered -a "^RESULT\|^SCRIPT\|^END" || true
	grep -aq "^SCRIPT 1000 of" "$log" || fail "perf/pktgen/kernel/send.sh did not send: see $log"
	grep -aq "^END done" "$log" || fail "the guest did not come to its end: see $log"
}

# A log as a table; its ratio as a line of the summary.
tell() { # bench, title, id, target, stretch
	awk -v bench="$1" -v title="$2" -v id="$3" -v target="$4" -v stretch="$5" -v summary="$work/summary-$1" '
	$1 == "RESULT" { each[$2] = $3 / $4; if ($5 < $4 * 0.999 && $2 !~ /generator/) lossy = lossy " " $2 }
	END {
		base = (each["generator"] + each["generator-again"]) / 2
		printf "\n**%s**\n\n| | instructions a packet | beyond the generator | to IPVS |\n|---|---:|---:|---:|\n", title
		printf "| generator, and dropped | %.0f | | |\n| ip_forward | %.0f | %.0f | |\n", base, each["forward"], each["forward"] - base
		printf "| bare AF_XDP | %.0f | %.0f | |\n", each["bare"], each["bare"] - base
		split("nat dr tun", methods, " ")
		for (m = 1; m <= 3; m++) {
			i = each["ipvs-" methods[m]] - base; s = each["sheave-" methods[m]] - base
			printf "| IPVS %s | %.0f | %.0f | 1.00 |\n", toupper(methods[m]), i + base, i
			printf "| sheave %s | %.0f | %.0f | %.2f |\n", toupper(methods[m]), s + base, s, i / s
			if (m == 1) ratio = i / s
		}
		spread = (each["generator"] - each["generator-again"]) / base
		printf "{\"id\":\"%s\",\"name\":\"IPVS NAT to sheave NAT, guest instructions a packet, %s\",\"value\":%.3f,\"unit\":\"ratio\",\"against\":\"kernel IPVS\",\"target\":%s,\"stretch\":%s,\"better\":\"higher\",\"runs\":1,\"spread\":%.3f}\n", id, title, ratio, target, stretch, spread < 0 ? -spread : spread > summary
		if (lossy) { print "error: perf-vm: " bench ": packets were lost by" lossy > "/dev/stderr"; exit 1 }
	}' "$work/log-$1" > "$work/$1.md"
	cat "$work/$1.md"
}

list=$target/perf/summary.json
for bench; do
	run "$bench"
	case $bench in
	veth) tell veth "veth, copy mode" V1 1.1 1.3 ;;
	nic) tell nic "virtio, zero-copy" V1-zero-copy 3 5 ;;
	*) fail "$bench: not known: use veth or nic" ;;
	esac
	id=$(grep -o '^{"id":"[^"]*"' "$work/summary-$bench")
	{ grep '^{' "$list" 2>/dev/null | grep -vF "$id," | sed 's/,$//' || true; cat "$work/summary-$bench"; } | sort |
		awk 'BEGIN {print "["} NR > 1 {print line ","} {line = $0} END {print line; print "]"}' > "$list.new"
	mv "$list.new" "$list"
done
cat "$work"/{veth,nic}.md 2>/dev/null > "$target/perf/vm.md" || true
