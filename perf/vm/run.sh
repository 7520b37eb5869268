#!/bin/bash
# Kernel IPVS and sheave in one guest, in instructions a packet: QEMU without KVM, with Debian's kernel, one processor
# whose clock counts instructions. Never installs the kernel. See docs/performance.md.
#
#   perf/vm/run.sh TARGET_DIRECTORY
set -eu -o pipefail
here=$(cd "$(dirname "$0")" && pwd)
target=$(realpath "${1:-target}")
work=$target/perf/vm
mkdir -p "$work"
fail() { echo "error: perf-vm: $*" >&2; exit 1; }

kernel() {
	local package
	package=$(apt-cache depends linux-image-cloud-amd64 | awk '/Depends: linux-image-/{print $2; exit}')
	[ -n "$package" ] || fail "linux-image-cloud-amd64: not known to apt: apt-get update"
	if [ ! -f "$work/$package/done" ]; then
		rm -rf "$work/$package" && mkdir -p "$work/$package"
		(cd "$work/$package" && apt-get download -qq "$package" 2>/dev/null && dpkg -x ./*.deb . && rm ./*.deb)
		depmod -b "$work/$package" "$(ls "$work/$package/lib/modules")"
		touch "$work/$package/done"
	fi
	echo "$work/$package"
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

k=$(kernel)
version=$(ls "$k/lib/modules")
root=$work/root
rm -rf "$root" && mkdir -p "$root"/{bin,sbin,proc,sys,dev,tmp,run,etc} "$root/lib/modules/$version"
program busybox
for applet in sh seq sed mount mkdir cat sleep echo printf tail grep kill modprobe poweroff; do ln -sf busybox "$root/bin/$applet"; done
program ip
PATH=$PATH:/sbin:/usr/sbin program ipvsadm
program "$target/release/sheaved"
cc -O1 -static -o "$root/bin/drive" "$here/drive.c"
install -m 755 "$here/init" "$root/init"
install -m 755 "$here/../pktgen/kernel/send.sh" "$root/bin/send.sh"
modules=$root/lib/modules/$version
for module in veth pktgen ip_vs_rr ipip tun; do
	modprobe -d "$k" -S "$version" --show-depends "$module" | awk '/^insmod/{print $2}'
done | sort -u | while read -r file; do
	install -D "$file" "$modules/${file#*/lib/modules/"$version"/}"
done
cp "$k/lib/modules/$version"/modules.{order,builtin,builtin.modinfo} "$modules"
depmod -b "$root" "$version"
(cd "$root" && find . | cpio -o -H newc --quiet | gzip -1) > "$work/initramfs.gz"

timeout 1500 qemu-system-x86_64 -accel tcg -cpu max -m 1024 -smp 1 -icount shift=0,sleep=off -nographic -no-reboot -nodefaults \
	-serial stdio -kernel "$k/boot/vmlinuz-$version" -initrd "$work/initramfs.gz" \
	-append "console=ttyS0 panic=-1 quiet mitigations=off tsc=reliable" < /dev/null | tee "$work/log" | grep --line-buffered -a "^RESULT\|^SCRIPT\|^END" || true
grep -aq "^SCRIPT 1000 of" "$work/log" || fail "perf/pktgen/kernel/send.sh did not send: see $work/log"
grep -aq "^END done" "$work/log" || fail "the guest did not come to its end: see $work/log"

awk -v summary="$work/summary" '
	$1 == "RESULT" { each[$2] = $3 / $4; if ($5 < $4 * 0.999 && $2 !~ /generator/) lossy = lossy " " $2 }
	END {
		base = (each["generator"] + each["generator-again"]) / 2
		printf "\n| | instructions a packet | beyond the generator | to IPVS |\n|---|---:|---:|---:|\n"
		printf "| generator, and dropped | %.0f | | |\n| ip_forward | %.0f | %.0f | |\n", base, each["forward"], each["forward"] - base
		split("nat dr tun", methods, " ")
		for (m = 1; m <= 3; m++) {
			i = each["ipvs-" methods[m]] - base; s = each["sheave-" methods[m]] - base
			printf "| IPVS %s | %.0f | %.0f | 1.00 |\n", toupper(methods[m]), i + base, i
			printf "| sheave %s | %.0f | %.0f | %.2f |\n", toupper(methods[m]), s + base, s, i / s
			if (m == 1) ratio = i / s
		}
		spread = (each["generator"] - each["generator-again"]) / base
		printf "{\"id\":\"V1\",\"name\":\"IPVS NAT to sheave NAT, guest instructions a packet, copy mode on veth\",\"value\":%.3f,\"unit\":\"ratio\",\"against\":\"kernel IPVS\",\"target\":1.1,\"stretch\":1.3,\"better\":\"higher\",\"runs\":1,\"spread\":%.3f}\n", ratio, spread < 0 ? -spread : spread > summary
		if (lossy) { print "error: perf-vm: packets were lost by" lossy > "/dev/stderr"; exit 1 }
	}' "$work/log" | tee "$target/perf/vm.md"

list=$target/perf/summary.json
{ grep '^{' "$list" 2>/dev/null | grep -v '"id":"V1"' | sed 's/,$//' || true; cat "$work/summary"; } | sort |
	awk 'BEGIN {print "["} NR > 1 {print line ","} {line = $0} END {print line; print "]"}' > "$list.new"
mv "$list.new" "$list"
