#!/bin/sh
IPVSADM=/sbin/ipvsadm
ipvsadm -A -t 198.18.0.100:80 -s rr
ipvsadm -A -t 198.18.0.100:80 -s rr 2>/dev/null || true
ipvsadm -a -t 198.18.0.100:80 -r 198.19.1.11:80 -m
ipvsadm -a -t 198.18.0.100:80 -r 198.19.1.12:80 -m
ipvsadm -a -t 198.18.0.100:80 -r 198.19.1.13:80 -m
ipvsadm -e -t 198.18.0.100:80 -r 198.19.1.12:80 -m -w 0
sleep 60
ipvsadm -d -t 198.18.0.100:80 -r 198.19.1.12:80
ipvsadm -d -t 198.18.0.100:80 -r 198.19.1.12:80
ipvsadm -E -t 198.18.0.100:80 -s wlc -p 300
ipvsadm -A -t 198.18.0.100:81
ipvsadm -D -t 198.18.0.100:81
sudo ipvsadm -L -n
