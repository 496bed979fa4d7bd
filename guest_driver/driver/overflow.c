/* SPDX-License-Identifier: Apache-2.0 */
/* The handlers that go into resource lists, and the answer to what they saw. */
#include "driver.h"
#include "overflow_log.h"

/* Called by the HAL at PROFILE_LEVEL. The registers are the HAL's to clear. */
void on_overflow(uint64_t overflow_bits, void *owning_handle)
{
	overflow_note(overflow_bits, (ULONG_PTR)owning_handle);
}

/* The same; the buffer is the HAL's. */
void on_event_buffer(void *buffer, uint64_t entry_size, uint64_t entries, void *owning_handle)
{
	(void)buffer;
	(void)entry_size;
	(void)entries;
	(void)owning_handle;
}

NTSTATUS request_overflows(struct request *request)
{
	struct pmctest_overflows result;

	overflow_read(&result);
	RtlCopyMemory(request->buffer, &result, sizeof result);
	request->written = sizeof result;
	return STATUS_SUCCESS;
}
