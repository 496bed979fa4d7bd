/* SPDX-License-Identifier: Apache-2.0 */
/* System threads that are always waited for: none outlives the request that started it. */
#include "driver.h"

static void NTAPI entry(PVOID context)
{
	struct thread *thread = context;

	thread->body(thread->context);
	PsTerminateSystemThread(STATUS_SUCCESS);
}

NTSTATUS thread_start(struct thread *thread, thread_body *body, void *context)
{
	OBJECT_ATTRIBUTES attributes;

	thread->body = body;
	thread->context = context;
	thread->handle = NULL;
	InitializeObjectAttributes(&attributes, NULL, OBJ_KERNEL_HANDLE, NULL, NULL);
	return PsCreateSystemThread(&thread->handle, THREAD_ALL_ACCESS, &attributes, NULL, NULL, entry, thread);
}

void thread_join(struct thread *thread)
{
	if (thread->handle == NULL)
		return;
	ZwWaitForSingleObject(thread->handle, FALSE, NULL);
	ZwClose(thread->handle);
	thread->handle = NULL;
}
