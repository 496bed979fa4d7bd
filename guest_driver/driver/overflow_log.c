/* SPDX-License-Identifier: Apache-2.0 */
#include "overflow_log.h"

static struct pmctest_overflows seen;

void overflow_note(uint64_t bits, uint64_t owner)
{
	const uint64_t key = owner != 0 ? owner : ~0ull; /* 0 marks a free entry; no HAL should pass it */

	__atomic_fetch_add(&seen.calls, 1, __ATOMIC_RELAXED);
	for (uint32_t i = 0; i < PMCTEST_OVERFLOW_OWNERS; i++) {
		uint64_t holder = 0;

		if (!__atomic_compare_exchange_n(&seen.owner[i].handle, &holder, key, 0, __ATOMIC_RELAXED, __ATOMIC_RELAXED) &&
		    holder != key)
			continue;
		__atomic_fetch_or(&seen.owner[i].bits, bits, __ATOMIC_RELAXED);
		__atomic_fetch_add(&seen.owner[i].calls, 1, __ATOMIC_RELAXED);
		return;
	}
	__atomic_fetch_add(&seen.lost, 1, __ATOMIC_RELAXED);
}

void overflow_read(struct pmctest_overflows *result)
{
	result->calls = __atomic_load_n(&seen.calls, __ATOMIC_RELAXED);
	result->lost = __atomic_load_n(&seen.lost, __ATOMIC_RELAXED);
	for (uint32_t i = 0; i < PMCTEST_OVERFLOW_OWNERS; i++) {
		result->owner[i].handle = __atomic_load_n(&seen.owner[i].handle, __ATOMIC_RELAXED);
		result->owner[i].calls = __atomic_load_n(&seen.owner[i].calls, __ATOMIC_RELAXED);
		result->owner[i].bits = __atomic_load_n(&seen.owner[i].bits, __ATOMIC_RELAXED);
	}
}
