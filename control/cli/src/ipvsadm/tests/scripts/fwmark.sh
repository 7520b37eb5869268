#!/bin/sh
# One site with and without TLS sticks together; marks are set for both ports.
iptables -t mangle -A PREROUTING -p tcp -d 198.18.0.110 --dport 80 -j MARK --set-mark 1
iptables -t mangle -A PREROUTING -p tcp -d 198.18.0.110 --dport 443 -j MARK --set-mark 1
ipvsadm -A -f 1 -s wlc -p 600 -M 255.255.255.0
ipvsadm -a -f 1 -r 198.19.1.1:0 -g -w 10
ipvsadm -a -f 1 -r 198.19.1.2:0 -g -w 10
ipvsadm -A -f 2 -6 -s rr -p
ipvsadm -a -f 2 -6 -r [2001:db8:1::1]:0 -g
ipvsadm -a -f 2 -6 -r 2001:db8:1::2 -g
