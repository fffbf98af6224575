// Prints how fast the card's memory is: what a copy within it reads and writes in a second.
#include <cuda_runtime.h>
#include <stdio.h>

static int failed(cudaError_t e) {
	if (e != cudaSuccess) fprintf(stderr, "bandwidth: %s\n", cudaGetErrorString(e));
	return e != cudaSuccess;
}

int main() {
	const size_t bytes = (size_t) 1 << 29;
	const int times = 40;
	void *from, *to;
	cudaEvent_t began, ended;
	if (failed(cudaMalloc(&from, bytes)) || failed(cudaMalloc(&to, bytes)) || failed(cudaEventCreate(&began)) || failed(cudaEventCreate(&ended))) return 1;
	for (int i = 0; i <= times; i++) {
		if (i == 1 && failed(cudaEventRecord(began))) return 1; // the first one finds memory that was not touched yet
		if (failed(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice))) return 1;
	}
	float ms = 0;
	if (failed(cudaEventRecord(ended)) || failed(cudaEventSynchronize(ended)) || failed(cudaEventElapsedTime(&ms, began, ended))) return 1;
	printf("The card's memory: %.0f GB/s, by copies of %zu MiB within it.\n", 2. * bytes * times / ms / 1e6, bytes >> 20);
	return 0;
}
