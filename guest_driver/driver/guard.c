/* SPDX-License-Identifier: Apache-2.0 */
/* The fault guard of the PMU core in a driver: structured exception handling. */
#include "nt.h"
#include "../pmu/pmu.h"

static LONG keep_code(ULONG code, uint32_t *fault)
{
	*fault = code;
	return EXCEPTION_EXECUTE_HANDLER;
}

/* pmu_raw() is in another translation unit: its instructions cannot move out of the guard. */
__attribute__((noinline)) uint32_t pmu_guarded(uint32_t op, uint32_t reg, uint64_t *value)
{
	uint32_t fault = 0;

	__try {
		pmu_raw(op, reg, value);
	} __except (keep_code((ULONG)_exception_code(), &fault)) { /* inside the block Wine has forgotten the code */
		*value = 0;
	}
	return fault;
}
