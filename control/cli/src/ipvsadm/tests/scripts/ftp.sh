#!/bin/sh
# FTP without NAT: persistence keeps control and data connections together.
ipvsadm -A -t 198.18.0.110:21 -p 540
ipvsadm -a -t 198.18.0.110:21 -r 198.18.0.11:21 -g -w 1
ipvsadm -a -t 198.18.0.110:21 -r 198.18.0.12:21 -g -w 1
# and one where any port does
ipvsadm -A -t 198.18.0.111:0 -s rr -p 360
ipvsadm -a -t 198.18.0.111:0 -r 198.18.0.11:0 -g
ipvsadm -a -t 198.18.0.111:0 -r 198.18.0.12:0 -g
ipvsadm -A -u 198.18.0.111 -s rr -p
ipvsadm -a -u 198.18.0.111 -r 198.18.0.11 -g
ipvsadm -a -u 198.18.0.111 -r 198.18.0.12 -g
