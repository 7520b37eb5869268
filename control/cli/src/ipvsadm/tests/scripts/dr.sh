#!/bin/bash
# Direct routing: the real servers have the address on lo.
set -e
/sbin/ipvsadm -C
/sbin/ipvsadm -A -t 198.18.0.110:80 -s wlc
/sbin/ipvsadm -a -t 198.18.0.110:80 -r 198.18.0.11:80 -g -w 100
/sbin/ipvsadm -a -t 198.18.0.110:80 -r 198.18.0.12:80 -g -w 50
/sbin/ipvsadm -a -t 198.18.0.110:80 -r 198.18.0.13 -g -w 100
# taken out for maintenance
/sbin/ipvsadm -e -t 198.18.0.110:80 -r 198.18.0.13 -g -w 0

/sbin/ipvsadm -A -t 198.18.0.110:25 -s wrr
/sbin/ipvsadm -a -t 198.18.0.110:25 -r 198.18.0.11
/sbin/ipvsadm -a -t 198.18.0.110:25 -r 198.18.0.12
# the port of a real server is the service's, whatever is written
/sbin/ipvsadm --add-service --tcp-service 198.18.0.110:443 --scheduler wlc --persistent 600
/sbin/ipvsadm --add-server --tcp-service 198.18.0.110:443 --real-server 198.18.0.11:4430 --gatewaying --weight 2
/sbin/ipvsadm --add-server --tcp-service 198.18.0.110:443 --real-server 198.18.0.12 --gatewaying
ip addr add 198.18.0.110/32 dev eth0 label eth0:110
