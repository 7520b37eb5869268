ipvsadm -A -t [2001:db8::80]:80 -s rr
ipvsadm -a -t [2001:db8::80]:80 -r [2001:db8::a0a0]:80 -m
ipvsadm -a -t [2001:db8::80]:80 -r [2001:db8::a0a1]:8080 -m -w 2
ipvsadm -A -u [2001:db8::80]:53 -s sh -p 60 -M 64
ipvsadm -a -u [2001:db8::80]:53 -r 2001:db8::a0a0 -g
ipvsadm -a -u [2001:db8::80]:53 -r [2001:db8::a0a1]:53 -g
