/* SPDX-License-Identifier: Apache-2.0 */
/* What this instance is and sees. */
#include "driver.h"

#if defined(__x86_64__)
#define ARCH "x86_64"
#elif defined(__aarch64__)
#define ARCH "aarch64"
#endif

NTSTATUS request_info(struct request *request)
{
	const struct pmctest_info info = {
		.abi = PMCTEST_ABI,
		.cpus = cpu_count(),
		.held = holding_count(request->instance),
		.loop_max = PMCTEST_MAX_LOOP,
		.pool_bytes = (ULONG64)request->instance->pool_bytes,
		.allocate_present = routines.allocate != NULL,
		.free_present = routines.free != NULL,
		.secured = request->instance->secured,
		.shared_layout = shared_layout,
		.version = HALPMC_VERSION,
		.arch = ARCH,
	};

	RtlCopyMemory(request->buffer, &info, sizeof info);
	request->written = sizeof info;
	return STATUS_SUCCESS;
}
