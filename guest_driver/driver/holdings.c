/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which file of the device holds which allocation. An allocation ends with its file (cleanup) or with the instance (unload), so
 * that a client that dies never leaves the counters taken.
 */
#include "driver.h"

static void lock(struct instance *instance)
{
	KeWaitForSingleObject(&instance->lock, Executive, KernelMode, FALSE, NULL);
}

static void unlock(struct instance *instance)
{
	KeReleaseMutex(&instance->lock, FALSE);
}

void registers_lock(struct instance *instance)
{
	KeWaitForSingleObject(&instance->registers, Executive, KernelMode, FALSE, NULL);
}

void registers_unlock(struct instance *instance)
{
	KeReleaseMutex(&instance->registers, FALSE);
}

struct holding *holding_prepare(struct instance *instance)
{
	return pool_take(instance, sizeof(struct holding));
}

void holding_discard(struct instance *instance, struct holding *holding)
{
	pool_return(instance, holding, sizeof *holding);
}

BOOLEAN holding_keep(struct instance *instance, struct holding *holding, struct file *file, HANDLE handle)
{
	BOOLEAN kept;

	holding->owner = file;
	holding->handle = handle;
	lock(instance);
	kept = (file == NULL || !file->closed) && instance->held_count < PMCTEST_MAX_HELD;
	if (kept) {
		InsertTailList(&instance->held, &holding->link);
		instance->held_count++;
	}
	instance->remembered[instance->next_remembered] = handle;
	instance->next_remembered = (instance->next_remembered + 1) % PMCTEST_REMEMBERED_HANDLES;
	unlock(instance);
	return kept;
}

/* Under the lock: take the first match off the list. NULL matches every file, and every handle. */
static struct holding *take(struct instance *instance, const struct file *file, HANDLE handle)
{
	for (LIST_ENTRY *link = instance->held.Flink; link != &instance->held; link = link->Flink) {
		struct holding *holding = CONTAINING_RECORD(link, struct holding, link);

		if ((file == NULL || holding->owner == file) && (handle == NULL || holding->handle == handle)) {
			RemoveEntryList(link);
			instance->held_count--;
			return holding;
		}
	}
	return NULL;
}

void holding_forget(struct instance *instance, HANDLE handle)
{
	struct holding *holding = NULL;

	lock(instance);
	if (handle != NULL)
		holding = take(instance, NULL, handle);
	unlock(instance);
	holding_discard(instance, holding);
}

BOOLEAN holding_remembers(struct instance *instance, HANDLE handle)
{
	BOOLEAN found = FALSE;

	lock(instance);
	for (ULONG i = 0; i < PMCTEST_REMEMBERED_HANDLES && !found; i++)
		found = handle != NULL && instance->remembered[i] == handle;
	for (LIST_ENTRY *link = instance->held.Flink; link != &instance->held && !found; link = link->Flink)
		found = CONTAINING_RECORD(link, struct holding, link)->handle == handle;
	unlock(instance);
	return found;
}

BOOLEAN holding_whole(struct instance *instance, const struct file *file)
{
	BOOLEAN found = FALSE;

	lock(instance);
	for (LIST_ENTRY *link = instance->held.Flink; link != &instance->held && !found; link = link->Flink) {
		const struct holding *holding = CONTAINING_RECORD(link, struct holding, link);

		found = holding->owner == file && holding->whole;
	}
	unlock(instance);
	return found;
}

BOOLEAN holding_handled(struct instance *instance, const struct file *file, ULONG index)
{
	BOOLEAN found = FALSE;

	lock(instance);
	for (LIST_ENTRY *link = instance->held.Flink; link != &instance->held && !found; link = link->Flink) {
		const struct holding *holding = CONTAINING_RECORD(link, struct holding, link);

		found = holding->owner == file && index < 64 && (holding->handled >> index & 1u) != 0;
	}
	unlock(instance);
	return found;
}

static struct pmctest_held describe(const struct holding *holding, const struct file *asking)
{
	return (struct pmctest_held){
		.handle = (ULONG_PTR)holding->handle,
		.file = holding->owner != NULL ? holding->owner->number : 0,
		.owner = holding->owner == NULL	   ? PMCTEST_OWNER_DRIVER :
			 holding->owner == asking ? PMCTEST_OWNER_SELF :
						     PMCTEST_OWNER_OTHER,
		.whole = holding->whole,
	};
}

NTSTATUS request_holdings(struct request *request)
{
	struct pmctest_holdings *result = request->buffer;
	ULONG room = (request->out - sizeof *result) / sizeof result->held[0];

	*result = (struct pmctest_holdings){ 0 };
	lock(request->instance);
	for (LIST_ENTRY *link = request->instance->held.Flink; link != &request->instance->held; link = link->Flink) {
		if (result->total < room)
			result->held[result->entries++] = describe(CONTAINING_RECORD(link, struct holding, link), request->file);
		result->total++;
	}
	unlock(request->instance);
	request->written = (ULONG)(sizeof *result + result->entries * sizeof result->held[0]);
	return STATUS_SUCCESS;
}

ULONG holding_count(struct instance *instance)
{
	ULONG count;

	lock(instance);
	count = instance->held_count;
	unlock(instance);
	return count;
}

void holding_release(struct instance *instance, struct file *file)
{
	for (;;) {
		struct holding *holding;
		struct pmctest_call call;

		registers_lock(instance);
		lock(instance);
		if (file != NULL)
			file->closed = TRUE;
		holding = take(instance, file, NULL);
		unlock(instance);
		if (holding != NULL)
			call_free(holding->handle, FALSE, &call); /* nobody is left who could be told its status */
		registers_unlock(instance);
		if (holding == NULL)
			return;
		holding_discard(instance, holding);
	}
}
