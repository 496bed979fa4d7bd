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
	struct pmctest_info info;
	struct pmu_report pmu;

	pmu_describe(&pmu);
	info = (struct pmctest_info){
		.abi = PMCTEST_ABI,
		.cpus = cpu_count(),
		.held = holding_count(request->instance),
		.loop_max = PMCTEST_MAX_LOOP,
		.pool_bytes = (ULONG64)request->instance->pool_bytes,
		.allocate_present = routines.allocate != NULL,
		.free_present = routines.free != NULL,
		.secured = request->instance->secured,
		.shared_layout = shared_layout,
		.destructive = request->instance->destructive,
		.understood = pmu_understood(&pmu) != 0,
		.image = (UCHAR)routines_image,
		.groups = routines.group_count != NULL ? routines.group_count() : 1,
		.pmu_interface = pmu.interface,
		.pmu_version = pmu.version,
		.version = HALPMC_VERSION,
		.arch = ARCH,
	};

	RtlCopyMemory(request->buffer, &info, sizeof info);
	request->written = sizeof info;
	return STATUS_SUCCESS;
}
