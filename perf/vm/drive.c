// SPDX-License-Identifier: Apache-2.0
//
// Runs inside the guest: has the kernel's packet generator send so many chunks, with a gap behind each in which whoever
// forwards them catches up and goes to sleep, and tells how long the processor was not idle meanwhile. Under QEMU's
// instruction counting a nanosecond is an instruction.
//
//      drive CHUNKS GAP_MICROSECONDS

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

// Seconds that the only processor was idle, in hundredths.
static double idle(void)
{
	double up = 0, idle = 0;
	FILE *f = fopen("/proc/uptime", "r");

	if (!f || fscanf(f, "%lf %lf", &up, &idle) != 2)
		exit(1);
	fclose(f);
	return idle;
}

int main(int argc, char **argv)
{
	int chunks = argc > 1 ? atoi(argv[1]) : 1;
	int gap = argc > 2 ? atoi(argv[2]) : 5000;
	int control = open("/proc/net/pktgen/pgctrl", O_WRONLY);
	double start = now(), idle_before = idle();

	if (control < 0)
		return 1;
	for (int i = 0; i < chunks; i++) {
		if (write(control, "start\n", 6) < 0)
			return 1;
		usleep(gap);
	}
	printf("%.0f\n", ((now() - start) - (idle() - idle_before)) * 1e9);
	return 0;
}
