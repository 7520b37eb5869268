#!/bin/sh
# Five web servers behind one address.
VIP=198.18.0.110
echo 1 > /proc/sys/net/ipv4/ip_forward
ipvsadm -A -t 198.18.0.110:80 -s rr
ipvsadm -a -t 198.18.0.110:80 -r 198.19.1.1:80 -m
ipvsadm -a -t 198.18.0.110:80 -r 198.19.1.2:80 -m
ipvsadm -a -t 198.18.0.110:80 -r 198.19.1.3:80 -m
ipvsadm -a -t 198.18.0.110:80 -r 198.19.1.4:8080 -m
ipvsadm -a -t 198.18.0.110:80 -r 198.19.1.5 -m
ipvsadm
