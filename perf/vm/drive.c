// SPDX-License-Identifier: Apache-2.0
//
// Runs inside the guest: has the kernel's packet generator send so many chunks, with a gap behind each in which whoever
// forwards them catches up and goes to sleep, and tells for how long the processor had something to do meanwhile. Under
// QEMU's instruction counting a nanosecond is an instruction.
//
// The kernel's own idle time is counted in ticks, far too coarse here. So a process that runs when nobody else wants to
// counts instead; how fast it counts alone is found first.
//
//      drive CHUNKS GAP_MICROSECONDS

#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

// Counts whenever the processor has nothing else to do.
static pid_t start_idler(volatile unsigned long *count)
{
	struct sched_param none = { 0 };
	pid_t pid = fork();

	if (pid == 0) {
		if (sched_setscheduler(0, SCHED_IDLE, &none) < 0)
			_exit(1);
		for (;;)
			++*count;
	}
	return pid;
}

int main(int argc, char **argv)
{
	int chunks = argc > 1 ? atoi(argv[1]) : 1;
	int gap = argc > 2 ? atoi(argv[2]) : 5000;
	int control = open("/proc/net/pktgen/pgctrl", O_WRONLY);
	volatile unsigned long *count = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	double start, alone, elapsed, rate;
	unsigned long before;
	pid_t idler;

	if (control < 0 || count == MAP_FAILED || (idler = start_idler(count)) < 0)
		return 1;
	usleep(50000);
	start = now();
	before = *count;
	usleep(500000);
	alone = now() - start;
	rate = (*count - before) / alone;

	start = now();
	before = *count;
	for (int i = 0; i < chunks; i++) {
		if (write(control, "start\n", 6) < 0)
			return 1;
		usleep(gap);
	}
	elapsed = now() - start;
	printf("%.0f\n", (elapsed - (*count - before) / rate) * 1e9);
	kill(idler, SIGKILL);
	waitpid(idler, NULL, 0);
	return 0;
}
