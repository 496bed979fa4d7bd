/* SPDX-License-Identifier: Apache-2.0 */
/* Nonpaged memory, counted, so that growth of the driver's own memory is an observation. */
#include "driver.h"

#define POOL_TAG 'tCmP' /* PmCt */

void *pool_take(struct instance *instance, SIZE_T bytes)
{
	/* Not executable where the system can: memory integrity (HVCI) forbids anything else. */
	void *memory = ExAllocatePoolWithTag(pool_kind, bytes, POOL_TAG);

	if (memory != NULL) {
		RtlZeroMemory(memory, bytes);
		InterlockedAdd64(&instance->pool_bytes, (LONG64)bytes);
	}
	return memory;
}

void pool_return(struct instance *instance, void *memory, SIZE_T bytes)
{
	if (memory == NULL)
		return;
	ExFreePoolWithTag(memory, POOL_TAG);
	InterlockedAdd64(&instance->pool_bytes, -(LONG64)bytes);
}
