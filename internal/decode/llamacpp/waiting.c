// How long the threads of a pass wait in place for each other.
//
// A pass on several threads has a barrier after each operation. By default libgomp's threads wait there in place for 300,000
// turns, 16 ms where a turn takes 140 cycles of 2.6 GHz, before they sleep and leave their processor to the thread that they wait for. Where
// another program has a processor, a pass can take many times as long. libgomp reads the number when it is
// loaded and takes it from the environment only, so the program begins anew with it, once, before Go's part of it starts. Whoever sets
// GOMP_SPINCOUNT or OMP_WAIT_POLICY decides. Programs that it starts, commands of rewards for instance, inherit the number.

#include <stdlib.h>

#if defined(__linux__) && defined(__GLIBC__) && defined(_OPENMP)
#include <unistd.h>

#define SPINS "10000" // docs/benchmarks.md, "Beside other programs"

__attribute__((constructor)) static void wait_shortly(int argc, char **argv) {
	(void) argc;
	char program[4096];
	if (getenv("GOMP_SPINCOUNT") != NULL || getenv("OMP_WAIT_POLICY") != NULL) {
		return;
	}
	ssize_t n = readlink("/proc/self/exe", program, sizeof program - 1);
	if (n <= 0 || setenv("GOMP_SPINCOUNT", SPINS, 1) != 0) {
		return;
	}
	program[n] = '\0';
	execv(program, argv); // which returns only where it fails
}
#endif
