#!/bin/sh
ipvsadm --set 1800 60 30
ipvsadm -A -u 198.18.0.53:53 -s rr -o
ipvsadm -a -u 198.18.0.53:53 -r 198.19.1.1:53 -m
ipvsadm -a -u 198.18.0.53:53 -r 198.19.1.2:53 -m
ipvsadm -A -t 198.18.0.53:5060 -s sh -b sh-port,sh-fallback
ipvsadm -a -t 198.18.0.53:5060 -r 198.19.1.1 -m
ipvsadm -A -t 198.18.0.53:8443 -s mh -b flag-1,flag-2
ipvsadm -a -t 198.18.0.53:8443 -r 198.19.1.1 -m -x 1000 -y 800
ipvsadm -a -t 198.18.0.53:8443 -r 198.19.1.2 -m --u-threshold 1000
ipvsadm -At 198.18.0.53:25 -s ovf
ipvsadm -at 198.18.0.53:25 -r 198.19.1.1 -mw 20
ipvsadm -L -n --stats
ipvsadm -Lc
ipvsadm -S -n > /etc/ipvsadm.rules
