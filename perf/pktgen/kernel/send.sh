#!/bin/sh
# UDP packets of many flows from the kernel's own packet generator, for a laboratory whose kernel has it (modprobe pktgen).
# Prints what the generator says of each processor's share: packets a second and errors.
#
#   send.sh -i INTERFACE -d ADDRESS -m MAC [-p PORT] [-s CLIENT] [-f FLOWS] [-z BYTES] [-n PACKETS] [-r PACKETS_A_SECOND] [-c CORES] [-b BURST]
#
#   -i  out of which interface          -d  the service's address (IPv4 or IPv6)   -m  hardware address of the director
#   -p  its port (80)                   -s  the client's address (198.18.128.0)    -f  flows (16384), by the source port
#   -z  frame size with FCS (64)        -n  packets of each processor (10000000)   -r  rate of each processor (as fast as possible)
#   -c  processors, from 0 on (1)       -b  packets handed to the driver at once (1; not every driver takes more)
set -eu
interface= address= mac= port=80 client= flows=16384 size=64 count=10000000 rate=0 cores=1 burst=1
while getopts i:d:m:p:s:f:z:n:r:c:b: option; do
	case $option in
	i) interface=$OPTARG ;; d) address=$OPTARG ;; m) mac=$OPTARG ;; p) port=$OPTARG ;; s) client=$OPTARG ;; f) flows=$OPTARG ;;
	z) size=$OPTARG ;; n) count=$OPTARG ;; r) rate=$OPTARG ;; c) cores=$OPTARG ;; b) burst=$OPTARG ;;
	*) sed -n '2,13s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
	esac
done
fail() { echo "error: send.sh: $*" >&2; exit 1; }
[ -n "$interface" ] && [ -n "$address" ] && [ -n "$mac" ] || fail "-i, -d and -m are needed: see the head of this file"
[ "$flows" -le 64000 ] || fail "flows $flows: one client address has ports for 64000: start several with -s"
proc=/proc/net/pktgen
[ -d $proc ] || modprobe pktgen 2>/dev/null || fail "this kernel has no pktgen: use sheave-pktgen send"

# A word the kernel does not take is an error of the write, or of the line "Result:".
say() { echo "$2" > "$proc/$1" || fail "$1: $2: refused: $(grep -a Result: "$proc/$1" || true)"; }
case $address in *:*) six=6 client=${client:-2001:db8:0:18::c612:8000} ;; *) six= client=${client:-198.18.128.0} ;; esac

for core in $(seq 0 $((cores - 1))); do
	device=$interface@$core
	say "kpktgend_$core" rem_device_all
	say "kpktgend_$core" "add_device $device"
	say "$device" "count $count"
	say "$device" "clone_skb 0"
	say "$device" "burst $burst"
	# Without the frame check sequence, as the kernel counts.
	say "$device" "pkt_size $((size - 4))"
	say "$device" "dst_mac $mac"
	if [ -n "$six" ]; then say "$device" "dst6 $address"; say "$device" "src6 $client"
	else say "$device" "dst $address"; say "$device" "src_min $client"; say "$device" "src_max $client"; fi
	say "$device" "udp_dst_min $port"
	say "$device" "udp_dst_max $port"
	say "$device" "udp_src_min 1024"
	say "$device" "udp_src_max $((1024 + flows - 1))"
	say "$device" "flag UDPSRC_RND"
	say "$device" "flag UDPCSUM"
	say "$device" "flag QUEUE_MAP_CPU"
	if [ "$rate" -gt 0 ]; then say "$device" "ratep $rate"; else say "$device" "delay 0"; fi
done
trap 'say pgctrl stop' INT
say pgctrl start
for core in $(seq 0 $((cores - 1))); do
	grep -a -A1 'Result:' "$proc/$interface@$core"
	say "kpktgend_$core" rem_device_all
done
