# Real servers at other sites.
modprobe ip_vs
ipvsadm -A -t 198.18.0.110:80 -s wlc
ipvsadm -a -t 198.18.0.110:80 -r 192.0.2.11 -i
ipvsadm -a -t 198.18.0.110:80 -r 192.0.2.12 -i -w 2 --tun-type ipip
ipvsadm -a -t 198.18.0.110:80 -r 192.0.2.13:80 -i --tun-type gue --tun-port 6080 --tun-nocsum
ipvsadm -a -t 198.18.0.110:80 -r 192.0.2.14:80 -i --tun-type gue --tun-port 6080 --tun-remcsum
ipvsadm -a -t 198.18.0.110:80 -r 192.0.2.15:80 -i --tun-type gre --tun-csum
ipvsadm -a -t 198.18.0.110:80 -r 2001:db8:2::16 -i
ipvsadm -A -t [2001:db8::110]:80 -s wlc
ipvsadm -a -t [2001:db8::110]:80 -r 192.0.2.11 -i
