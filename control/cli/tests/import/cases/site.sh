#!/bin/sh
# The rules of a small site
echo 1 > /proc/sys/net/ipv4/ip_forward
/sbin/ipvsadm -C
/sbin/ipvsadm --set 3600 60 30
/sbin/ipvsadm -A -t 198.18.0.100:80 -s wlc
/sbin/ipvsadm -a -t 198.18.0.100:80 -r 198.19.1.11:8080 -m -w 3
/sbin/ipvsadm -a -t 198.18.0.100:80 -r 198.19.1.12:8080 -m
/sbin/ipvsadm -A -f 1 -s wlc -p 600
/sbin/ipvsadm -a -f 1 -r 198.18.0.11 -g
/sbin/ipvsadm -A --sctp-service 198.18.0.100:9000
/sbin/ipvsadm -A -t 198.18.0.100:443 -s wrr --pe sip
ipvsadm -A -t 198.18.0.100:22 -s rr
ipvsadm -a -t 198.18.0.100:22 -r 198.19.1.11 -m -x 5 -y 9
ipvsadm --start-daemon master --mcast-interface eth0
